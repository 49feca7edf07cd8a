"""Perplexity under a character n-gram model trained on clean reference text (KenLM's way)."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import open_atomic

ORDER = 4
MOST_BYTES = 4_000_000  # of reference text: training takes eight seconds a megabyte
LEAST_CHARACTERS = 1_000
READ = 20_000  # characters of a text that are scored
SPACE = "▁"  # a run of white space inside a line, as one token
UNKNOWN = "<unk>"


def train_ngram(
    texts: Iterable[str], path: Path, order: int = ORDER, most_bytes: int = MOST_BYTES
) -> dict[str, int]:
    """Train a Kneser-Ney model of `order` characters on the first `most_bytes` of `texts` and write
    it to the ARPA file `path`.

    kaldingram estimates it as SRILM does. Its file has no `<unk>`, for which KenLM then takes 100
    digits of improbability a character; the entry is added with the probability of the rarest
    character that was seen.

    Returns:
        `{"documents", "bytes", "characters"}` of the reference that was used.

    Raises:
        BadInput: the reference is too short to say anything.
    """
    from kaldingram.train import build_parser, run  # pure Python; only training needs it

    counts = {"documents": 0, "bytes": 0, "characters": 0}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        reference, model = Path(folder) / "reference.txt", Path(folder) / "model.arpa"
        with reference.open("w", encoding="utf-8", newline="\n") as stream:
            for text in texts:
                if counts["bytes"] >= most_bytes:
                    break
                counts["documents"] += 1
                counts["bytes"] += len(text.encode())
                for line in _lines(text):
                    counts["characters"] += len(line)
                    stream.write(" ".join(line) + "\n")
        if counts["characters"] < LEAST_CHARACTERS:
            raise BadInput(
                f"corpus.quality.reference: {counts['characters']} characters are too few to train "
                f"an n-gram model on; {LEAST_CHARACTERS:,} are the least, a few millions are good"
            )
        options = ["--ngram-order", str(order), "--text", str(reference), "--lm", str(model)]
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
            run(build_parser().parse_args(options))
        with model.open(encoding="utf-8") as arpa, open_atomic(path) as raw:
            for line in _with_unknown(arpa):
                raw.write(line.encode())
    return counts


def _with_unknown(arpa: Iterable[str]) -> Iterator[str]:
    """An ARPA file's lines with one more 1-gram, `<unk>`, as probable as the rarest."""
    section, unigrams, least = "", [], 0.0
    for line in arpa:
        if section == "\\1-grams:" and line.strip():
            if not line.startswith("\\"):
                probability, name = line.split()[:2]
                if name != "<s>":
                    least = min(least, float(probability))
                unigrams.append(line)
                continue
            yield f"{least:.6f}\t{UNKNOWN}\n"
            yield from unigrams
            yield "\n"
        elif section == "\\1-grams:":
            continue
        if line.startswith("\\"):
            section = line.strip()
        if line.startswith("ngram 1="):
            line = f"ngram 1={int(line.split('=')[1]) + 1}\n"
        yield line


def _lines(text: str) -> Iterator[str]:
    """The non-empty lines as sequences of one-character tokens."""
    for line in text.split("\n"):
        if words := line.split():
            yield SPACE.join(words)


class NgramScorer:
    """Perplexity of texts, per character, under an ARPA model; can be pickled."""

    name = "perplexity"
    higher_is_better = False

    def __init__(self, path: Path) -> None:
        """Use the model in `path`, which `train_ngram` or another tool has written.

        Raises:
            BadInput: it is no model of characters.
        """
        self.path = path
        self._model: Any = None
        self._load()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_model": None}

    def _load(self) -> Any:
        if self._model is None:
            import kenlm  # a compiled library of 11 MB

            if not self.path.is_file():
                raise BadInput(f"{self.path}: no such file; train it from a clean reference first")
            try:
                quiet = kenlm.Config()
                quiet.show_progress = False
                quiet.arpa_complain = kenlm.ARPALoadComplain.NONE
                self._model = kenlm.Model(str(self.path), quiet)
            except OSError as error:
                raise BadInput(f"{self.path}: not a model that KenLM reads ({error})") from error
        return self._model

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Perplexity per character, line ends included; of a text without characters, infinity's
        stand-in 1e9.
        """
        model = self._load()
        return [_perplexity(model, text[:READ]) for text in texts]


NO_TEXT = 1e9


def _perplexity(model: Any, text: str) -> float:
    log10, characters = 0.0, 0
    for line in _lines(text):
        log10 += model.score(" ".join(line))
        characters += len(line) + 1
    return min(NO_TEXT, math.pow(10.0, min(300.0, -log10 / characters))) if characters else NO_TEXT
