"""Duplicates among all documents: exact copies by their key, near ones by MinHash.

Nothing here depends on the order in which documents were read, save which of several exact copies
stays: the first one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

LARGEST_BUCKET = 5_000  # members of a band's bucket that are compared with more than one other
CENTRES = 16  # members of a bucket that the rest are compared with, one after the other
# FineWeb-2 (Penedo et al. 2025, arXiv 2506.20920): how often to repeat the member that stays.
REHYDRATION = ((1_000, 1), (100, 8), (5, 5), (3, 3), (2, 2), (1, 1))


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Near duplicates.

    Attributes:
        root: the smallest number in each document's cluster.
        sizes: the members of each document's cluster; 1 for one that stands alone.
        compared, verified: pairs that shared a band, and those whose signatures agree.
        giant: buckets above `LARGEST_BUCKET`, as (band, members).
    """

    root: Numbers
    sizes: Numbers
    compared: int
    verified: int
    giant: list[tuple[int, int]]


def first_copies(keys: Keys) -> npt.NDArray[np.bool_]:
    """Which rows of the (N, 2) keys have no equal row before them."""
    order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    new = np.ones(len(keys), bool)
    new[order[1:]] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return new


def band_pairs(
    bands: Keys, rank: Numbers, agreement: Any, least: float
) -> tuple[Numbers, int, list[int]]:
    """The pairs that one band proposes and the whole signatures confirm.

    Args:
        bands: the band's key of every document.
        rank: the place of every document in the order of keys: what decides who is compared.
        agreement: (N, lanes) parts of the signatures.
        least: the share of equal parts from which two documents are near duplicates.

    Returns:
        (M, 2) pairs of numbers, how many pairs were compared, and the sizes of giant buckets.
    """
    order = np.lexsort((rank, bands))
    changes = np.flatnonzero(np.diff(bands[order])) + 1
    starts = np.concatenate(([0], changes, [len(order)])).astype(np.int64)
    sizes = np.diff(starts)
    pairs, compared = _confirmed(
        order, starts, agreement, int(np.ceil(least * agreement.shape[1])), LARGEST_BUCKET, CENTRES
    )
    return pairs, int(compared), sizes[sizes > LARGEST_BUCKET].tolist()


@compiled
def _confirmed(
    order: Any, starts: Any, agreement: Any, least: Any, giant: Any, centres: Any
) -> Any:
    """In a bucket of at most `centres` members every one is compared with every other. In a larger
    one the first is compared with all others, and those unlike it form the next round.
    """
    room = np.int64(1024)
    pairs = np.empty((room, 2), np.int64)
    found = compared = 0
    for bucket in range(len(starts) - 1):
        members = order[starts[bucket] : starts[bucket + 1]].copy()
        left = len(members)
        rounds = 1 if left > giant else centres
        small = left <= centres
        while left > 1 and rounds:
            rounds -= 1
            centre = members[0]
            unlike = 0
            for place in range(1, left):
                equal = 0
                for lane in range(agreement.shape[1]):
                    equal += agreement[centre, lane] == agreement[members[place], lane]
                compared += 1
                member = members[place]
                if small or equal < least:
                    members[unlike] = member
                    unlike += 1
                if equal < least:
                    continue
                if found == room:
                    grown = np.empty((2 * room, 2), np.int64)
                    grown[:room] = pairs
                    pairs, room = grown, 2 * room
                pairs[found, 0], pairs[found, 1] = centre, member
                found += 1
            left = unlike
    return pairs[:found].copy(), compared


@compiled
def roots(pairs: Any, size: Any) -> Any:
    """Union-find: the smallest number that each of `size` documents is connected with."""
    parent = np.arange(size)
    for index in range(len(pairs)):
        one, two = pairs[index, 0], pairs[index, 1]
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        while parent[two] != two:
            parent[two] = parent[parent[two]]
            two = parent[two]
        if one < two:
            parent[two] = one
        else:
            parent[one] = two
    for index in range(size):
        parent[index] = parent[parent[index]]
    return parent


def clusters(found: list[tuple[Numbers, int, list[int]]], size: int) -> Clusters:
    """Join what all bands found."""
    pairs = (
        np.concatenate([pairs for pairs, _, _ in found]) if found else np.empty((0, 2), np.int64)
    )
    root = roots(pairs, size)
    return Clusters(
        root,
        np.bincount(root, minlength=size)[root],
        sum(compared for _, compared, _ in found),
        len(pairs),
        [(band, members) for band, (_, _, giant) in enumerate(found) for members in giant],
    )


def best_members(
    root: Numbers, quality: npt.NDArray[np.float64], rank: Numbers
) -> npt.NDArray[np.bool_]:
    """The member of each cluster with the highest quality; of equals the one of lowest rank."""
    order = np.lexsort((rank, -quality, root))
    best = np.zeros(len(root), bool)
    ordered = root[order]
    first = np.ones(len(order), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    best[order[first]] = True
    return best


def rehydration(sizes: Numbers) -> Numbers:
    """How often the kept member of a cluster of each size should be seen (`REHYDRATION`)."""
    return np.select([sizes >= least for least, _ in REHYDRATION], [n for _, n in REHYDRATION], 1)
