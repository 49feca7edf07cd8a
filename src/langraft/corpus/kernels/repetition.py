"""Repetition inside a text: shares of its most frequent and of its repeated n-grams of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from langraft.corpus.kernels.compiling import compiled, inlined
from langraft.corpus.kernels.hashing import MIX

LARGEST_COUNT = 2**24 - 1


@compiled
def _power(n: Any) -> Any:
    power = np.uint64(1)
    for _ in range(n):
        power *= np.uint64(MIX)
    return power


@compiled
def top_share(hashes: Any, lengths: Any, tokens: Any, characters: Any, n: Any, cells: Any) -> Any:
    """A cell holds the upper 40 bits of a key above a count of 24 bits: one memory access a
    token.
    """
    mask, leaving = _cleared(cells, tokens), _power(n)
    key = np.uint64(0)
    size = np.int64(0)
    best: Any = 1
    best_size: Any = 0
    for index in range(tokens):
        key = key * np.uint64(MIX) + hashes[index]
        size += lengths[index]
        if index >= n:
            key -= leaving * hashes[index - n]
            size -= lengths[index - n]
        if index < n - 1:
            continue
        mixed = _mixed(key)
        slot = np.int64(mixed) & mask
        upper = mixed >> np.uint64(24)
        while cells[slot] and cells[slot] >> np.uint64(24) != upper:
            slot = (slot + 1) & mask
        count = np.int64(cells[slot] & np.uint64(LARGEST_COUNT)) + 1
        if count <= LARGEST_COUNT:
            cells[slot] = upper << np.uint64(24) | np.uint64(count)
        if count > best or (count == best and count > 1 and size > best_size):
            best, best_size = count, size
    return min(1.0, best * best_size / characters) if best > 1 else 0.0


@compiled
def repeated_share(
    hashes: Any, lengths: Any, tokens: Any, characters: Any, n: Any, cells: Any
) -> Any:
    """The share of the tokens' characters in n-grams that came before."""
    mask, leaving = _cleared(cells, tokens), _power(n)
    key = np.uint64(0)
    covered: Any = 0
    upto = np.int64(0)  # tokens before this one are counted already
    for index in range(tokens):
        key = key * np.uint64(MIX) + hashes[index]
        if index >= n:
            key -= leaving * hashes[index - n]
        if index < n - 1:
            continue
        mixed = _mixed(key)
        slot = np.int64(mixed) & mask
        while cells[slot] and cells[slot] != mixed:
            slot = (slot + 1) & mask
        if cells[slot]:
            for place in range(max(upto, index - n + 1), index + 1):
                covered += lengths[place]
            upto = index + 1
        cells[slot] = mixed
    return covered / characters if characters else 0.0


@inlined
def _mixed(key: Any) -> Any:
    """A spread key that is never 0, which marks an empty cell."""
    value = key * np.uint64(MIX)
    return (value ^ (value >> np.uint64(29))) | np.uint64(1 << 63)


@compiled
def _cleared(cells: Any, tokens: Any) -> Any:
    """Empty enough cells for `tokens` keys; returns the mask of their numbers."""
    size = np.int64(16)
    while size < 2 * tokens:
        size *= 2
    cells[:size] = 0
    return size - 1
