"""New-language text as the base tokenizer sees it: units of whole characters, and runs of them.

A *unit* is a minimal group of base tokens that begins and ends at a character boundary: mostly one
character of one to three tokens. A *run* is a stretch of units of the new script inside one
pre-token; new merges may not leave it. Runs are kept as strings with one private code point for
each unit, so that equal runs are counted once.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from langraft.core.messages import warn
from langraft.tokenizer.alphabet import is_continuation
from langraft.tokenizer.encoder import Encoder
from langraft.tokenizer.scripts import FOREIGN, WORD, Scripts

Ids = tuple[int, ...]
Array = npt.NDArray[np.int64]

FIRST_SYMBOL = 0x10000  # past the basic plane, so that no symbol is white space
BREAK = 0x20
BATCH_CHARACTERS = 500_000
PART_CHARACTERS = 200_000
MOST_CHARACTERS = 15_000_000
LONGEST_UNIT = 12


@dataclasses.dataclass
class Corpus:
    """What is learnt from.

    Attributes:
        base: the tokenizer whose tokens the units are made of.
        scripts: the characters that count as the new language's.
        units: private code point - FIRST_SYMBOL -> base ids.
        runs: runs of the script as private code points, with their counts.
        unfinished: units of two or more base tokens (words' characters and punctuation marks),
            with their counts.
        characters: characters learnt from; tokens: base tokens they took.
    """

    base: Encoder
    scripts: Scripts
    units: list[Ids] = dataclasses.field(default_factory=list)
    runs: Counter[str] = dataclasses.field(default_factory=Counter)
    unfinished: Counter[Ids] = dataclasses.field(default_factory=Counter)
    characters: int = 0
    tokens: int = 0

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """What a sequence of base ids spells."""
        return b"".join(self.base.bytes_by_id[index] for index in ids)


def read_corpus(base: Encoder, texts: Iterable[str], scripts: Scripts) -> Corpus:
    """Encode `texts` with the base and count the units and runs of `scripts`, batch by batch.

    Of more than MOST_CHARACTERS an even sample is taken, with a warning.
    """
    corpus = Corpus(base, scripts)
    reader = _Reader(corpus)
    sampled, stride = sample(texts, MOST_CHARACTERS)
    if stride > 1:
        warn(f"the text is long: pieces are learnt from every {stride}th part of it")
    for batch in _batches(sampled):
        reader.add(batch)
    return corpus


def sample(texts: Iterable[str], most: int) -> tuple[list[str], int]:
    """Every n-th of `texts`, n the smallest power of two that leaves at most `most` characters.

    Long texts are cut into parts first. Holds no more than the sample and one text in memory.

    Returns:
        The sample, and n.
    """
    kept: list[str] = []
    characters, stride = 0, 1
    for index, part in enumerate(_parts(texts)):
        if index % stride:
            continue
        kept.append(part)
        characters += len(part)
        while characters > most and len(kept) > 1:
            kept = kept[::2]
            stride *= 2
            characters = sum(map(len, kept))
    return kept, stride


def _parts(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for begin in range(0, len(text), PART_CHARACTERS):
            yield text[begin : begin + PART_CHARACTERS]


def _batches(texts: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _Reader:
    """Tables by base id, and the private code point of every unit seen so far."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        table = corpus.base.bytes_by_id
        self.starts = np.array([not data or not is_continuation(data[0]) for data in table])
        self.symbols: dict[Ids, int] = {}
        self.spaced: set[int] = set()
        self.kinds: dict[Ids, int] = {}

    def add(self, texts: list[str]) -> None:
        """Count one batch."""
        corpus = self.corpus
        found = corpus.base.tokenizer.encode_batch(texts, add_special_tokens=False)
        corpus.characters += sum(map(len, texts))
        ids = np.array([index for each in found for index in each.ids], dtype=np.int64)
        corpus.tokens += len(ids)
        if not len(ids):
            return
        words = np.array(
            [-1 if word is None else word for each in found for word in each.word_ids],
            dtype=np.int64,
        )
        lengths = np.array([len(each.ids) for each in found])
        fresh = np.zeros(len(ids), dtype=bool)
        fresh[np.cumsum(lengths)[:-1][np.cumsum(lengths)[:-1] < len(ids)]] = True
        fresh[1:] |= words[1:] != words[:-1]
        fresh[0] = True
        self._count(ids, fresh)

    def _count(self, ids: Array, fresh: npt.NDArray[np.bool_]) -> None:
        heads = np.flatnonzero(self.starts[ids] | fresh)
        sizes = np.diff(np.append(heads, len(ids)))
        symbols = np.full(len(heads), BREAK, dtype=np.int64)
        for size in range(1, min(int(sizes.max()), LONGEST_UNIT) + 1):
            chosen = np.flatnonzero(sizes == size)
            if len(chosen):
                rows = ids[heads[chosen][:, None] + np.arange(size)]
                symbols[chosen] = self._symbols_of(rows)
        breaks = fresh[heads] | np.isin(symbols, list(self.spaced))
        lines = np.empty((len(heads), 2), dtype=np.uint32)
        lines[:, 0] = np.where(breaks, BREAK, 0)
        lines[:, 1] = symbols
        flat = lines.ravel()
        self.corpus.runs.update(flat[flat != 0].tobytes().decode("utf-32-le").split(" "))
        del self.corpus.runs[""]

    def _symbols_of(self, rows: Array) -> Array:
        """The private code point of each row of ids, shape (n,); BREAK for what is no unit."""
        keys, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        found = np.array(
            [self._symbol(tuple(key), int(n)) for key, n in zip(keys.tolist(), counts, strict=True)]
        )
        return found[inverse.ravel()]

    def _symbol(self, ids: Ids, count: int) -> int:
        kind = self.kinds.get(ids)
        if kind is None:
            kind = self.kinds[ids] = self._kind(ids)
        if len(ids) > 1 and kind != FOREIGN:
            self.corpus.unfinished[ids] += count
        if kind != WORD:
            return BREAK
        if ids not in self.symbols:
            self.symbols[ids] = FIRST_SYMBOL + len(self.symbols)
            self.corpus.units.append(ids)
            if self.corpus.bytes_of(ids).startswith(b" "):
                self.spaced.add(self.symbols[ids])
        return self.symbols[ids]

    def _kind(self, ids: Ids) -> int:
        if any(index in self.corpus.base.added for index in ids):
            return FOREIGN
        data = self.corpus.bytes_of(ids)
        if self.corpus.scripts.spaced and data == b" ":
            return WORD
        return self.corpus.scripts.kind(data)
