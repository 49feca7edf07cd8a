"""Equal sequences of integers, stored once and counted: texts hold the same words again and again.

Compiled by numba: a hash table with open addressing whose entries point into one long array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
EMPTY = -1


@dataclasses.dataclass
class Sequences:
    """Distinct sequences with their counts, in the order in which they were first seen.

    Attributes:
        values: all sequences behind one another, shape (capacity,); `ends[-1]` of it are in use.
        ends: where each sequence ends, shape (capacity,).
        counts: how often each occurred, shape (capacity,).
        size: number of distinct sequences.
    """

    values: Int32 = dataclasses.field(default_factory=lambda: np.empty(1 << 12, np.int32))
    ends: Int64 = dataclasses.field(default_factory=lambda: np.empty(1 << 10, np.int64))
    counts: Int64 = dataclasses.field(default_factory=lambda: np.empty(1 << 10, np.int64))
    table: Int32 = dataclasses.field(default_factory=lambda: np.full(1 << 12, EMPTY, np.int32))
    size: int = 0

    @property
    def used(self) -> int:
        """Integers stored."""
        return int(self.ends[self.size - 1]) if self.size else 0

    def add(self, values: Int32, starts: Int64, ends: Int64, counts: Int64) -> Int32:
        """Count the sequences `values[starts[i]:ends[i]]`, `counts[i]` times each.

        Returns:
            The index of each sequence, shape (len(starts),).
        """
        self._reserve(len(starts), int((ends - starts).sum()))
        found = np.empty(len(starts), np.int32)
        self.size = _intern(
            values, starts, ends, counts,
            self.values, self.ends, self.counts, self.table, self.size, found,
        )  # fmt: skip
        return found

    def _reserve(self, entries: int, values: int) -> None:
        self.values = _grown(self.values, self.used + values)
        self.ends = _grown(self.ends, self.size + entries)
        self.counts = _grown(self.counts, self.size + entries)
        while len(self.table) < 2 * (self.size + entries):
            self.table = np.full(2 * len(self.table), EMPTY, np.int32)
            _rehash(self.values, self.ends, self.table, self.size)

    def keep(self, chosen: npt.NDArray[np.bool_]) -> Sequences:
        """Only the sequences where `chosen`, shape (size,), is true; order kept."""
        ends = self.ends[: self.size]
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        kept = Sequences()
        kept.add(self.values, starts[chosen], ends[chosen], self.counts[: self.size][chosen])
        return kept

    def __iter__(self) -> Iterator[tuple[Int32, int]]:
        """Every sequence with its count."""
        start = 0
        for index in range(self.size):
            end = int(self.ends[index])
            yield self.values[start:end], int(self.counts[index])
            start = end


def _grown(array: npt.NDArray[Any], wanted: int) -> npt.NDArray[Any]:
    if wanted <= len(array):
        return array
    larger = np.empty(max(wanted, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger


@njit(cache=True)
def _hash(values: Int32, start: int, end: int) -> int:
    """FNV-1a over 32-bit words, with a last mixing so that its low bits are usable."""
    found = np.uint64(0xCBF29CE484222325)
    for place in range(start, end):
        found = (found ^ np.uint64(values[place])) * np.uint64(0x100000001B3)
    found ^= found >> np.uint64(29)
    found *= np.uint64(0xBF58476D1CE4E5B9)
    return np.int64((found ^ (found >> np.uint64(32))) & np.uint64(0x7FFFFFFFFFFFFFFF))


@njit(cache=True)
def _equal(one: Int32, start: int, end: int, two: Int32, other: int, other_end: int) -> bool:
    if end - start != other_end - other:
        return False
    for offset in range(end - start):  # noqa: SIM110 - numba compiles the loop, not all()
        if one[start + offset] != two[other + offset]:
            return False
    return True


@njit(cache=True)
def _intern(
    values: Int32,
    starts: Int64,
    ends: Int64,
    weights: Int64,
    stored: Int32,
    stored_ends: Int64,
    counts: Int64,
    table: Int32,
    size: int,
    found: Int32,
) -> int:
    mask = len(table) - 1
    used = stored_ends[size - 1] if size else 0
    for index in range(len(starts)):
        start, end = starts[index], ends[index]
        slot = _hash(values, start, end) & mask
        while True:
            entry = table[slot]
            if entry == EMPTY:
                entry = table[slot] = size
                for place in range(start, end):
                    stored[used] = values[place]
                    used += 1
                stored_ends[size] = used
                counts[size] = 0
                size += 1
                break
            begin = stored_ends[entry - 1] if entry else 0
            if _equal(values, start, end, stored, begin, stored_ends[entry]):
                break
            slot = (slot + 1) & mask
        counts[entry] += weights[index]
        found[index] = entry
    return size


@njit(cache=True)
def _rehash(values: Int32, ends: Int64, table: Int32, size: int) -> None:
    mask = len(table) - 1
    for entry in range(size):
        begin = ends[entry - 1] if entry else 0
        slot = _hash(values, begin, ends[entry]) & mask
        while table[slot] != EMPTY:
            slot = (slot + 1) & mask
        table[slot] = entry
