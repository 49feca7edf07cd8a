"""New-language text as the base tokenizer sees it: units of whole characters, and runs of them.

A *unit* is a minimal group of base tokens that begins and ends at a character boundary: mostly one
character of one to three tokens. A *run* is a stretch of units of the new script that new merges
may not leave. Equal runs are counted once, and the base encodes each of them once, which makes a
long text cost little more than reading it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from langraft.core.messages import warn
from langraft.tokenizer.alphabet import is_continuation
from langraft.tokenizer.encoder import BYTE_LEVEL, Encoder
from langraft.tokenizer.scripts import FOREIGN, SINGLE, WORD, Scripts
from langraft.tokenizer.sequences import Sequences
from langraft.tokenizer.spans import (
    ALONE,
    BREAK,
    FIRST,
    INNER,
    LETTER,
    NEIGHBOUR,
    SPACE,
    Int8,
    find_mixed_runs,
    find_runs,
    find_units,
    find_words,
)
from langraft.tokenizer.whole_runs import END, WholeRuns

Ids = tuple[int, ...]
Codes = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

BATCH_CHARACTERS = 4_000_000
# Distinct runs are kept in memory up to this many characters; then the rarest go.
MOST_CHARACTERS = 40_000_000
# Merging takes time by the square of a run's length; some texts have no marks at all.
LONGEST = 200
LINES = 2_000
PART = 100_000  # runs that are encoded at once without the base's own program
NEWLINE = "\n"


@dataclasses.dataclass
class Corpus:
    """What is learnt from.

    Attributes:
        base: the tokenizer whose tokens the units are made of.
        scripts: the characters that count as the new language's.
        units: distinct units, as sequences of base ids.
        foreign: per unit, whether it holds no character of the scripts.
        runs: distinct runs, as sequences of unit indices.
        unfinished: units of two or more base tokens (words' characters and punctuation marks),
            with their counts.
        characters: characters read.
    """

    base: Encoder
    scripts: Scripts
    units: list[Ids] = dataclasses.field(default_factory=list)
    foreign: list[bool] = dataclasses.field(default_factory=list)
    runs: Sequences = dataclasses.field(default_factory=Sequences)
    unfinished: Counter[Ids] = dataclasses.field(default_factory=Counter)
    characters: int = 0

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """What a sequence of base ids spells."""
        return b"".join(self.base.bytes_by_id[index] for index in ids)


def read_corpus(
    base: Encoder, texts: Iterable[str], scripts: Scripts, most: int = MOST_CHARACTERS
) -> Corpus:
    """Count the units and runs of `scripts` in `texts`, batch by batch.

    Args:
        most: characters of distinct runs that are kept in memory; where there are more, the runs
            seen least often are left out, with a warning.
    """
    corpus = Corpus(base, scripts)
    lead = scripts.spaced or base.family == BYTE_LEVEL
    written, marks = Sequences(), np.zeros(0x110000, np.int64)
    left_out = 0
    for codes in _batches(texts):
        corpus.characters += len(codes)
        if scripts.mixed:
            starts, ends = find_mixed_runs(codes, _kinds(scripts))
        else:
            starts, ends = find_runs(codes, _kinds(scripts), lead)
        starts, ends = _cut(starts, ends)
        written.add(codes, starts, ends, np.ones(len(starts), np.int64))
        marks += np.bincount(codes, minlength=0x110000)
        written, lost = _bounded(written, most)
        left_out += lost
    if left_out:
        warn(f"the text is long: {left_out:,} rare runs of characters are left out of the learning")
    _Reader(corpus).read(written)
    for code in np.flatnonzero(marks * _marks(scripts)).tolist():
        ids = tuple(base.spell(chr(code).encode())) if base.spells(chr(code)) else ()
        if len(ids) > 1:
            corpus.unfinished[ids] += int(marks[code])
    return corpus


def _batches(texts: Iterable[str]) -> Iterator[Codes]:
    """Code points of many texts at a time, a line break between texts."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield _codes(NEWLINE.join(batch))
            batch, characters = [], 0
    if batch:
        yield _codes(NEWLINE.join(batch))


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "replace"), np.int32)


@functools.lru_cache(maxsize=4)
def _kinds(scripts: Scripts) -> Int8:
    """What each code point is to a run, shape (0x110000,)."""
    kinds = np.zeros(0x110000, np.int8)
    if scripts.mixed:
        kinds[scripts.code_points(NEIGHBOUR_CHARACTERS)] = NEIGHBOUR
    kinds[scripts.code_points(scripts.letters.pattern)] = LETTER
    kinds[ord(" ")] = SPACE
    return kinds


NEIGHBOUR_CHARACTERS = r"(?V1)[\p{Script=Latin}\p{Nd}]"


@functools.lru_cache(maxsize=4)
def _marks(scripts: Scripts) -> npt.NDArray[np.bool_]:
    """The code points that may be completed and never joined, shape (0x110000,)."""
    found = np.zeros(0x110000, np.bool_)
    found[scripts.code_points(scripts.owned.pattern)] = True
    allowed: npt.NDArray[np.bool_] = found & (_kinds(scripts) != LETTER)
    return allowed


def _cut(starts: Int64, ends: Int64) -> tuple[Int64, Int64]:
    """Runs of more than LONGEST characters in parts of so many."""
    parts = -(-(ends - starts) // LONGEST)
    place = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    first = np.repeat(starts, parts) + LONGEST * place
    return first, np.minimum(first + LONGEST, np.repeat(ends, parts))


def _bounded(runs: Sequences, most: int) -> tuple[Sequences, int]:
    before, least = runs.size, 1
    while runs.used > most and runs.size:
        runs = runs.keep(runs.counts[: runs.size] > least)
        least *= 2
    return runs, before - runs.size


class _Reader:
    """Encodes distinct runs with the base and finds the units in them."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.begins = np.array(
            [not data or not is_continuation(data[0]) for data in corpus.base.bytes_by_id]
        )
        self.units = Sequences()
        self.roles = np.empty(0, np.int8)
        self.whole = WholeRuns(corpus.base, self.letter)

    def read(self, written: Sequences) -> None:
        """Add runs of code points to the corpus as runs of units."""
        whole = self.whole.among(written)
        simple, other = written.keep(whole), written.keep(~whole)
        for codes, ends, counts in _parts(simple):
            self._add(self.whole.encode(codes, ends), counts)
        for texts, weights in _lines(other):
            found = self.corpus.base.encode_batch(texts)
            for text, ids, counts in zip(texts, found, weights, strict=True):
                self._add(self._tokens(text, ids, len(counts)), counts)
        for unit, count in self.units:
            key = tuple(unit.tolist())
            kind = self._kind(key)
            if len(key) > 1 and kind in (WORD, SINGLE):
                self.corpus.unfinished[key] += count

    def _tokens(self, text: str, ids: list[int], lines: int) -> Codes:
        """The tokens of `text`, its lines apart by END; what stands before them is cut off.

        A base that normalises line breaks away gets the lines one by one.
        """
        tokens = np.array(ids, np.int32)
        breaks = tokens == self.corpus.base.encode(NEWLINE)[-1]
        if breaks.sum() == lines + 1:
            tokens[breaks] = END
            return tokens[int(np.argmax(breaks)) + 1 :]
        spelled = [[*self.corpus.base.spell(line.encode()), END] for line in text.split(NEWLINE)]
        return np.array([index for line in spelled[1:-1] for index in line], np.int32)

    def _add(self, tokens: Codes, counts: npt.NDArray[np.int64]) -> None:
        spans = find_units(tokens, self.begins, END)
        weights = counts[spans.lines]
        units = self.units.add(tokens, spans.starts, spans.ends, weights)
        self._name_new_units()
        starts, ends = find_words(units, spans.lines, self.roles)
        self.corpus.runs.add(units, starts, ends, weights[starts])

    def _name_new_units(self) -> None:
        known = len(self.corpus.units)
        new = []
        for index in range(known, self.units.size):
            start = int(self.units.ends[index - 1]) if index else 0
            ids = tuple(self.units.values[start : int(self.units.ends[index])].tolist())
            self.corpus.units.append(ids)
            kind, role = self._kind(ids), BREAK
            data = self.corpus.bytes_of(ids)
            self.corpus.foreign.append(kind != WORD)
            if kind == WORD or (self.corpus.scripts.mixed and self._joins_old(data)):
                role = self._role(data)
            new.append(role)
        if new:
            self.roles = np.concatenate([self.roles, np.array(new, np.int8)])

    def _kind(self, ids: Ids) -> int:
        if any(index in self.corpus.base.added for index in ids):
            return FOREIGN
        data = self.corpus.bytes_of(ids)
        if self.corpus.scripts.spaced and data == b" ":
            return WORD
        return self.corpus.scripts.kind(data)

    def _joins_old(self, data: bytes) -> bool:
        return data.decode(errors="replace").replace(" ", "").isalnum() or data == b" "

    def _role(self, data: bytes) -> int:
        text = data.decode()
        splitter = self.corpus.base.tokenizer.pre_tokenizer
        if splitter is not None and any(self._splits(character) for character in text.strip()):
            return ALONE
        spaced = self.corpus.scripts.spaced or splitter is not None
        return FIRST if spaced and text.startswith(" ") else INNER

    @functools.cache  # noqa: B019 - a reader lives as long as one corpus
    def _splits(self, character: str) -> bool:
        """Whether the base's pre-tokenizer parts `character` from the letters around it."""
        letter = "x" if self.corpus.scripts.mixed else self.letter
        parts = self.corpus.base.tokenizer.pre_tokenizer.pre_tokenize_str(
            f"{letter}{character}{letter}"
        )
        return len(parts) > 1

    @functools.cached_property
    def letter(self) -> str:
        """An ordinary letter of the scripts."""
        points = self.corpus.scripts.code_points(
            r"(?V1)[" + self.corpus.scripts.letters.pattern.removeprefix("(?V1)") + r"&&\p{L}]"
        )
        return chr(int(points[len(points) // 2]))


def _parts(runs: Sequences) -> Iterator[tuple[Codes, Int64, Int64]]:
    """Runs, PART at a time: their code points, where each ends among them, and their counts."""
    start = 0
    for first in range(0, runs.size, PART):
        last = min(first + PART, runs.size)
        ends = runs.ends[first:last]
        yield runs.values[start : ends[-1]], ends - start, runs.counts[first:last]
        start = int(ends[-1])


def _lines(runs: Sequences) -> Iterator[tuple[list[str], list[npt.NDArray[np.int64]]]]:
    """Runs as texts of LINES lines each, several at a time, with the counts of the lines.

    A line break stands in front too: it takes the space that SentencePiece puts before a text.
    """
    texts: list[str] = []
    weights: list[npt.NDArray[np.int64]] = []
    start = 0
    for first in range(0, runs.size, LINES):
        last = min(first + LINES, runs.size)
        ends = runs.ends[first:last]
        codes = np.insert(runs.values[start : ends[-1]], ends - start, ord(NEWLINE))
        texts.append(NEWLINE + codes.astype("<u4").tobytes().decode("utf-32-le"))
        weights.append(runs.counts[first:last])
        start = int(ends[-1])
        if len(texts) == 64:
            yield texts, weights
            texts, weights = [], []
    if texts:
        yield texts, weights
