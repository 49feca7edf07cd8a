"""What the steps take from files that the recipe names: scorers, benchmark items, languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.messages import say
from langraft.corpus.plan import Tools
from langraft.corpus.quality.scorer import BitsPerByte, ModelScorer, Scorer
from langraft.corpus.readers import expand, read_texts
from langraft.recipe import Corpus, Quality

CountTokens = Callable[[Sequence[str]], Sequence[int]]


def make_tools(
    corpus: Corpus,
    root: Path,
    work: Path,
    count_tokens: CountTokens | None = None,
    bits_per_byte: BitsPerByte | None = None,
) -> Tools:
    """Everything that the recipe's steps need; a scorer is trained into the folder `work` once.

    Raises:
        BadInput: a file cannot be read, a suite is unknown, or the scorer `model` has no model.
    """
    identify = contamination = None
    if corpus.language.check or corpus.language.drop:
        from langraft.corpus.language import LanguageIdentifier

        identify = LanguageIdentifier()
    if corpus.decontaminate.suites:
        from langraft.corpus.benchmark_items import benchmark_items
        from langraft.corpus.decontaminate import Decontaminator

        suites = {name: root / path for name, path in corpus.decontaminate.suites.items()}
        contamination = Decontaminator(benchmark_items(suites), corpus.decontaminate.ngram)
    scorer = _scorer(corpus.quality, root, work, bits_per_byte)
    return Tools(identify, scorer, contamination, count_tokens)


def _scorer(
    quality: Quality, root: Path, work: Path, bits_per_byte: BitsPerByte | None
) -> Scorer | None:
    if quality.scorer == "none":
        return None
    if quality.scorer == "model":
        if bits_per_byte is None:
            raise BadInput(
                "corpus.quality.scorer: 'model' needs the recipe's base model; "
                "use `langraft run`, or another scorer"
            )
        return ModelScorer(bits_per_byte)
    if quality.scorer == "kenlm":
        from langraft.corpus.quality.ngram import NgramScorer, train_ngram

        path = work / "scorer.arpa"
        if not path.exists():
            say("training an n-gram model on the reference, about eight seconds a megabyte")
            train_ngram(_texts(quality.reference, root), path)
        return NgramScorer(path)
    from langraft.corpus.quality.linear import load_linear, train_linear

    path = work / "scorer.safetensors"
    if not path.exists():
        trained = train_linear(_texts(quality.reference, root), _texts(quality.bad, root))
        say(f"the classifier parts held-out good from bad texts with an AUC of {trained.auc:.3f}")
        trained.scorer.save(path)
    return load_linear(path)


def _texts(patterns: Sequence[str], root: Path) -> Iterator[str]:
    return (record.text for path in expand(patterns, root) for record in read_texts(path))
