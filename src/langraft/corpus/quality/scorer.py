"""What every scorer offers, and the one that asks a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

BATCH = 16  # texts
READ = 20_000  # characters of a text that are scored

BitsPerByte = Callable[[Sequence[str]], Sequence[float]]


class Scorer(Protocol):
    """Gives every text one number.

    Attributes:
        name: what the number is called in a document's `meta` and in the report.
        higher_is_better: which end of the scale is good text.
    """

    name: str
    higher_is_better: bool

    def scores(self, texts: Sequence[str]) -> list[float]:
        """The number of each text."""
        ...


class ModelScorer:
    """Bits per UTF-8 byte under a causal language model, which the caller brings as a function."""

    name = "bits_per_byte"
    higher_is_better = False

    def __init__(self, bits_per_byte: BitsPerByte, batch: int = BATCH) -> None:
        self._bits_per_byte = bits_per_byte
        self._batch = batch

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Bits per byte of each text's first `READ` characters; texts of like length go to the
        model together.

        Raises:
            ValueError: the function gave another number of results than it was given texts.
        """
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found = [0.0] * len(texts)
        for start in range(0, len(order), self._batch):
            batch = order[start : start + self._batch]
            bits = self._bits_per_byte([texts[number][:READ] for number in batch])
            for number, value in zip(batch, bits, strict=True):
                found[number] = float(value)
        return found
