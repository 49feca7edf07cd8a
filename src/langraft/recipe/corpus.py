"""`corpus:` sources, cleaning, rules, dedup, hold-out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from langraft.recipe.section import Name, Positive, Section


class Source(Section):
    """One body of text: files or folders (globs allowed), their language, and the bucket their
    documents belong to.
    """

    name: Name
    paths: tuple[str, ...] = Field(min_length=1)
    language: Name
    bucket: Name = "knowledge"
    text_key: str = "text"


class Clean(Section):
    """Normalisation of every document."""

    normalise: Literal["nfkc", "none"] = "nfkc"


class Dedup(Section):
    """Which duplicates go."""

    exact: bool = True


class Holdout(Section):
    """How many UTF-8 bytes of each source are set aside, never trained on, and used to measure."""

    bytes: Positive = 200_000


class Corpus(Section):
    """Text in: sources, cleaning, rules, dedup, hold-out. `rules` names a table; `thresholds`
    overrides it key by key.
    """

    sources: tuple[Source, ...] = Field(min_length=1)
    clean: Clean = Clean()
    rules: str = "any"
    thresholds: Mapping[str, float] = {}
    dedup: Dedup = Dedup()
    holdout: Holdout = Holdout()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Corpus:
        names = [source.name for source in self.sources]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two sources are called {sorted(twice)[0]!r}; give each its own name")
        return self
