"""Buckets: every source in N equal bins, so that bucket i (bin i of every source) looks like the
whole corpus; and the share of tokens that every source gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled

Numbers = npt.NDArray[np.int64]


def bins(sizes: Numbers, categories: Numbers, rank: Numbers, count: int) -> Numbers:
    """The bin of every document of one source, 0 to `count` - 1.

    Documents are dealt out in the order of their category and size, one to every bin in turn, the
    largest of a turn to the bin that holds the fewest bytes so far. So bins have as many documents
    to one, the categories and the lengths of the whole, and as many bytes as far as no single
    document is larger than a bin.

    Args:
        sizes: bytes of each document.
        categories: equal numbers for documents of one kind.
        rank: what decides between documents of one category and size.
    """
    order = np.lexsort((rank, -sizes, categories))
    turns = np.arange(len(order)) // count
    order = order[np.lexsort((-sizes[order], turns))]
    dealt = np.empty(len(order), np.int64)
    dealt[order] = _dealt(sizes[order], count)
    return dealt


@compiled
def _dealt(sizes: Any, count: Any) -> Any:
    found = np.empty(len(sizes), np.int64)
    held = np.zeros(count, np.int64)
    turn_of = np.full(count, -1, np.int64)  # the last turn in which each bin was served
    for place in range(len(sizes)):
        turn, least = place // count, -1
        for number in range(count):
            if turn_of[number] < turn and (least < 0 or held[number] < held[least]):
                least = number
        found[place] = least
        held[least] += sizes[place]
        turn_of[least] = turn
    return found


def shares_met(tokens: Mapping[str, float], planned: Mapping[str, float]) -> dict[str, float]:
    """How many tokens of each source go in so that the sources have the planned shares and as much
    text as possible is used, none of it twice.

    A source without a planned share is taken whole beside them.
    """
    wanted = {name: share for name, share in planned.items() if share > 0}
    whole = min((tokens[name] / share for name, share in wanted.items()), default=0.0)
    total = sum(wanted.values())
    return {
        name: min(amount, planned[name] / total * whole * total) if name in planned else amount
        for name, amount in tokens.items()
    }


def taken(sizes: Numbers, bin_of: Numbers, rank: Numbers, part: float) -> npt.NDArray[np.bool_]:
    """Documents that make up `part` of the bytes, taken evenly from every bin in order of rank."""
    kept = np.zeros(len(sizes), bool)
    for number in np.unique(bin_of):
        members = np.flatnonzero(bin_of == number)
        members = members[np.argsort(rank[members])]
        ends = np.cumsum(sizes[members])
        if len(ends):
            kept[members[ends - sizes[members] / 2 <= part * ends[-1]]] = True
    return kept


def spread(sizes: Sequence[int], wanted: int) -> list[int]:
    """Numbers of documents, evenly spaced, with about `wanted` bytes together: a sample."""
    total = sum(sizes)
    if total <= wanted:
        return list(range(len(sizes)))
    step = total / wanted
    return list(dict.fromkeys(int(index * step) for index in range(int(len(sizes) / step))))
