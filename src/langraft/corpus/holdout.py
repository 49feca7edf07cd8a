"""The hold-out: documents set aside to measure on, never trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

LARGEST_SHARE = 4  # at most one byte in four of a source is set aside


def hold_out(documents: Iterable[tuple[bytes, int]], wanted: int) -> set[bytes]:
    """Choose the documents of one source to set aside.

    Documents are visited in the order of their keys. Each is taken unless it would bring the
    hold-out above a quarter of the source's bytes; the walk ends once `wanted` bytes are reached.
    The choice depends on the set of texts alone, not on the order of files, and copies of a text
    (equal keys) go together.

    Args:
        documents: key and size in UTF-8 bytes of every document of the source.
        wanted: bytes to set aside.

    Returns:
        The keys of the chosen documents; empty when no document fits into a quarter of the source.
    """
    sizes: defaultdict[bytes, int] = defaultdict(int)
    for key, size in documents:
        sizes[key] += size
    room = sum(sizes.values()) // LARGEST_SHARE
    chosen: set[bytes] = set()
    held = 0
    for key in sorted(sizes):
        if held >= wanted:
            break
        if held + sizes[key] <= room:
            chosen.add(key)
            held += sizes[key]
    return chosen
