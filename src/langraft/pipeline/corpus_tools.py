"""What the corpus needs from other rooms and from files: languages, scorers, benchmark items, a
tokenizer.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import sha256_file
from langraft.core.messages import say, warn
from langraft.corpus.benchmark_items import benchmark_items
from langraft.corpus.clean import clean
from langraft.corpus.decontaminate import Decontaminator
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.language import LanguageIdentifier
from langraft.corpus.plan import Tools
from langraft.corpus.quality.linear import train_linear
from langraft.corpus.quality.ngram import NO_TEXT, NgramScorer, train_ngram
from langraft.corpus.quality.scorer import ModelScorer, Scorer
from langraft.corpus.readers import Malformed, expand, read_texts
from langraft.recipe import Corpus

SCORER = "scorer"  # the folder of what is trained for scoring, inside the corpus folder
MOST_EXAMPLES = 20_000  # texts of either kind for the classifier
WINDOW = 512  # tokens: a model scores the beginning of a document


def corpus_tools(corpus: Corpus, root: Path, out: Path, base: Path | None = None) -> Tools:
    """Load, index and train what the section asks for.

    Args:
        corpus: the recipe's section.
        root: the folder that its paths start from.
        out: the corpus folder; a trained scorer is kept in its `scorer/`.
        base: the base model's folder: its tokenizer counts tokens, and it scores where
            `quality.scorer` is `model`.

    Raises:
        BadInput: a file cannot be used or is missing, or nothing is there that was asked for.
    """
    scorer = _scorer(corpus, root, out / SCORER, base)
    return Tools(
        identify=LanguageIdentifier() if corpus.language.check or corpus.language.drop else None,
        scorer=scorer,
        scorer_name=scorer.name if scorer else "",
        higher_is_better=scorer.higher_is_better if scorer else True,
        contamination=_contamination(corpus, root),
        count_tokens=functools.partial(_tokens, base) if base is not None else None,
    )


def tool_hashes(corpus: Corpus, root: Path) -> dict[str, str]:
    """The sha256 of every file that the tools are made of, for the stage's manifest."""
    files = [*_files(corpus.quality.reference, root), *_files(corpus.quality.bad, root)]
    for place in corpus.decontaminate.suites.values():
        path = root / place
        inside = path.rglob("*") if path.is_dir() else [path]
        files += sorted(file for file in inside if file.is_file())
    return {str(file): sha256_file(file) for file in files}


def _contamination(corpus: Corpus, root: Path) -> Decontaminator | None:
    suites = {suite: root / place for suite, place in corpus.decontaminate.suites.items()}
    if not suites:
        return None
    found = Decontaminator(benchmark_items(suites), corpus.decontaminate.ngram)
    say(f"decontaminate: {len(found):,} items of {len(suites)} suites")
    return found


def _scorer(corpus: Corpus, root: Path, folder: Path, base: Path | None) -> Scorer | None:
    wanted = corpus.quality
    if wanted.scorer == "none":
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if wanted.scorer == "kenlm":
        path = folder / "reference.arpa"
        if not path.exists():
            counts = train_ngram(_texts(wanted.reference, root, corpus), path)
            say(f"scorer: an n-gram model of {counts['bytes'] / 1e6:.1f} MB of reference text")
        return NgramScorer(path)
    if wanted.scorer == "classifier":
        good, bad = (
            itertools.islice(_texts(paths, root, corpus), MOST_EXAMPLES)
            for paths in (wanted.reference, wanted.bad)
        )
        trained = train_linear(good, bad)
        trained.scorer.save(folder / "classifier.safetensors")
        say(f"scorer: a classifier with AUC {trained.auc:.4f} on texts it was not trained on")
        return trained.scorer
    if base is None:
        raise BadInput("corpus.quality.scorer: model needs the recipe's `base`")
    return ModelScorer(functools.partial(_bits, base))


def _files(patterns: Sequence[str], root: Path) -> list[Path]:
    return expand(patterns, root) if patterns else []


def _texts(patterns: Sequence[str], root: Path, corpus: Corpus) -> Iterator[str]:
    """The reference, normalised as the corpus will be."""
    flaws = Malformed()
    for path in _files(patterns, root):
        for record in read_texts(path, malformed=flaws):
            yield clean(Texts.of([record.text]), corpus.clean)[0]
    if flaws.count:
        warn(f"corpus.quality: {flaws.count:,} malformed records, first {flaws.examples[0]}")


def _tokens(base: Path, texts: Sequence[str]) -> list[int]:
    return [len(ids) for ids in _encoder(base).encode_batch(list(texts))]


@functools.lru_cache(maxsize=1)
def _encoder(base: Path) -> Any:
    from langraft.tokenizer.encoder import load_encoder

    return load_encoder(base)


def _bits(base: Path, texts: Sequence[str]) -> list[float]:
    """Bits per byte of the first `WINDOW` tokens of each text, all in one batch."""
    import torch

    from langraft.evals.bits import token_logprobs

    model, head, start = _model(base)
    encoder = _encoder(base)
    ids = [found[: WINDOW - 1] for found in encoder.encode_batch(list(texts))]
    longest = max(map(len, ids), default=0)
    if not longest:
        return [NO_TEXT] * len(texts)
    batch = torch.tensor([[start, *one, *[start] * (longest - len(one))] for one in ids])
    logprobs = token_logprobs(model, head, batch)
    found = []
    for row, one in zip(logprobs, ids, strict=True):
        size = sum(len(encoder.piece_bytes(token)) for token in one)
        nats = -float(row[: len(one)].sum())
        found.append(nats / math.log(2) / size if size else NO_TEXT)
    return found


@functools.lru_cache(maxsize=1)
def _model(base: Path) -> tuple[Any, Any, int]:
    from langraft.checkpoint.folder import load_model, load_tokenizer
    from langraft.data.frame import document_frame

    model = load_model(base).eval()
    return model, model.get_output_embeddings().weight, document_frame(load_tokenizer(base)).start
