"""`corpus:` sources, cleaning, rules, dedup, scoring, decontamination, buckets, hold-out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from langraft.recipe.section import Fraction, Name, Positive, Section


class Source(Section):
    """One body of text: files or folders (globs allowed), their language, and the bucket their
    documents belong to.
    """

    name: Name
    paths: tuple[str, ...] = Field(min_length=1)
    language: Name
    bucket: Name = "knowledge"
    text_key: str = "text"


class Boilerplate(Section):
    """Lines that many documents of a source share are cut out of them.

    Attributes:
        documents, share: a line goes if at least so many documents have it, and at least this share
            of the source's.
        characters: shorter lines stay: headings and clauses that belong to every document.
    """

    documents: Positive = 20
    share: Fraction = 0.005
    characters: Positive = 15


class Clean(Section):
    """What is done to the text of every document."""

    normalise: Literal["nfkc", "none"] = "nfkc"
    full_width: Literal["keep", "fold"] = "keep"
    single_spaces: bool = False
    ftfy: bool = True
    simplify: bool = False
    html: bool = False
    boilerplate: Boilerplate | None = None


class LanguageCheck(Section):
    """Documents in another language than their source's.

    Attributes:
        check: find out every document's language and mark it in the document's `meta`.
        drop: also drop documents in another language; mixed ones stay.
        least: a guess that is less sure than this drops nothing.
    """

    check: bool = False
    drop: bool = False
    least: Fraction = 0.5


class Sensitive(Section):
    """Files of terms; see the corpus guide for their format."""

    lists: tuple[str, ...] = ()


class MinHash(Section):
    """Near duplicates: bands and rows of the signature, tokens a shingle, and the share of equal
    hashes from which two documents are the same.
    """

    bands: Positive = 14
    rows: Positive = 8
    ngram: Positive = 5
    similarity: Annotated[float, Field(gt=0, le=1)] = 0.7


class Dedup(Section):
    """Which duplicates go, and whether the kept member of a cluster gets a weight."""

    exact: bool = True
    minhash: MinHash | None = None
    rehydrate: bool = False


class Quality(Section):
    """How documents are scored, and which are dropped for it.

    Attributes:
        scorer: `none`; `kenlm`: perplexity under an n-gram model of clean text; `classifier`: a
            linear one between good and bad texts; `model`: the base model's bits per byte.
        reference: files of clean text for `kenlm`; good examples for `classifier`.
        bad: bad examples for `classifier`.
        cut: `none` stores scores only; `ziya2` keeps the best 60 %, the best half of them marked
            `high`, the other `medium`.
    """

    scorer: Literal["none", "kenlm", "classifier", "model"] = "none"
    reference: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    cut: Literal["none", "ziya2"] = "none"

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Quality:
        if self.scorer in ("kenlm", "classifier") and not self.reference:
            raise ValueError(f"the scorer {self.scorer!r} needs `reference` files of clean text")
        if self.scorer == "classifier" and not self.bad:
            raise ValueError("the scorer 'classifier' needs `bad` files too")
        return self


class Decontaminate(Section):
    """Benchmark items that must not be trained on.

    Attributes:
        suites: files of items, by the suite's name.
        ngram: characters (of Chinese and the like) or words in a row that make a hit.
        action: `remove` the document, or `cut` the hit out of it.
    """

    suites: Mapping[Name, str] = {}
    ngram: Positive = 13
    action: Literal["remove", "cut"] = "remove"


class Buckets(Section):
    """How the training documents are laid out.

    Attributes:
        count: equal bins that every source is split into.
        shares: planned share of tokens of each source; a source with too much is cut.
    """

    count: Positive = 1
    shares: Mapping[Name, Fraction] = {}


class Holdout(Section):
    """How many UTF-8 bytes of each source are set aside, never trained on, and used to measure."""

    bytes: Positive = 200_000


Redacted = Literal["email", "phone", "identity", "ip", "key"]


class Corpus(Section):
    """Text in, and the steps it goes through. `rules` names a table; `thresholds` overrides it key
    by key.
    """

    sources: tuple[Source, ...] = Field(min_length=1)
    clean: Clean = Clean()
    language: LanguageCheck = LanguageCheck()
    rules: str = "any"
    thresholds: Mapping[str, float] = {}
    redact: tuple[Redacted, ...] = ()
    sensitive: Sensitive = Sensitive()
    dedup: Dedup = Dedup()
    quality: Quality = Quality()
    decontaminate: Decontaminate = Decontaminate()
    buckets: Buckets = Buckets()
    holdout: Holdout = Holdout()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Corpus:
        names = [source.name for source in self.sources]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two sources are called {sorted(twice)[0]!r}; give each its own name")
        unknown = [name for name in self.buckets.shares if name not in names]
        if unknown:
            raise ValueError(f"buckets.shares names {unknown[0]!r}, which is no source")
        return self
