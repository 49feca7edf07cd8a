"""Applying merges in the order of their ranks, compiled by numba; all cores work on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from langraft.tokenizer.merging import INSIDE, find_slot

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
NEVER = 1 << 30


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Merges by their pair of symbols: the lower the rank, the earlier.

    Attributes:
        keys: a hash table of left << 32 | right, -1 where free.
        ranks, products: of the pair at the same place.
    """

    keys: Int64
    ranks: Int32
    products: Int32


def rank_merges(pairs: Int32, products: Int32, ranks: Int32) -> Ranks:
    """The table of merges; of a pair that stands there twice the lower rank counts.

    Args:
        pairs: shape (n, 2); products: shape (n,); ranks: shape (n,).
    """
    size = 16
    while size < 3 * len(pairs):
        size *= 2
    table = Ranks(
        np.full(size, -1, np.int64), np.full(size, NEVER, np.int32), np.zeros(size, np.int32)
    )
    _fill(table.keys, table.ranks, table.products, pairs, products, ranks)
    return table


@njit(cache=True)
def _fill(
    keys: Int64, found: Int32, made: Int32, pairs: Int32, products: Int32, ranks: Int32
) -> None:
    for index in range(len(pairs)):
        key = np.int64(pairs[index, 0]) << 32 | np.int64(pairs[index, 1])
        slot = find_slot(keys, key)
        if keys[slot] == -1 or ranks[index] < found[slot]:
            keys[slot], found[slot], made[slot] = key, ranks[index], products[index]


def apply_merges(text: Int32, ends: Int64, table: Ranks) -> None:
    """Encode sequences in place; symbols that were merged away become INSIDE.

    Args:
        text: symbols of all sequences, shape (n,); a negative one is joined to nothing.
        ends: where each sequence ends in it, shape (sequences,).
    """
    _apply(text, ends, table.keys, table.ranks, table.products)


@njit(cache=True)
def look_up(keys: Int64, ranks: Int32, left: int, right: int) -> tuple[int, int]:
    """Rank and slot of a pair; NEVER and -1 when it is no merge."""
    if left < 0 or right < 0:
        return NEVER, -1
    slot = find_slot(keys, np.int64(left) << 32 | np.int64(right))
    return (np.int64(ranks[slot]), slot) if keys[slot] != -1 else (np.int64(NEVER), -1)


@njit(cache=True, parallel=True)
def _apply(text: Int32, ends: Int64, keys: Int64, ranks: Int32, products: Int32) -> None:
    for index in prange(len(ends)):
        start = ends[index - 1] if index else 0
        _encode(text[start : ends[index]], keys, ranks, products)


@njit(cache=True)
def _encode(part: Int32, keys: Int64, ranks: Int32, products: Int32) -> None:
    size = len(part)
    best, slots = np.empty(size, np.int32), np.empty(size, np.int64)
    for place in range(size - 1):
        best[place], slots[place] = look_up(keys, ranks, part[place], part[place + 1])
    while size > 1:
        chosen = 0
        for place in range(1, size - 1):
            if best[place] < best[chosen]:
                chosen = place
        if best[chosen] == NEVER:
            break
        part[chosen] = products[slots[chosen]]
        for place in range(chosen + 1, size - 1):
            part[place], best[place], slots[place] = (
                part[place + 1],
                best[place + 1],
                slots[place + 1],
            )
        size -= 1
        part[size] = INSIDE
        if chosen > 0:
            best[chosen - 1], slots[chosen - 1] = look_up(
                keys, ranks, part[chosen - 1], part[chosen]
            )
        if chosen < size - 1:
            best[chosen], slots[chosen] = look_up(keys, ranks, part[chosen], part[chosen + 1])
        else:
            best[chosen] = NEVER
