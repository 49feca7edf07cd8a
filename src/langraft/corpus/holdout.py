"""The hold-out: documents set aside to measure on, never trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LARGEST_SHARE = 4  # at most one byte in four of a source is set aside


def hold_out(
    keys: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64], wanted: int
) -> npt.NDArray[np.bool_]:
    """Choose the documents of one source to set aside.

    Documents are visited in the order of their keys. Each is taken unless it would bring the
    hold-out above a quarter of the source's bytes; the walk ends once `wanted` bytes are reached.
    The choice depends on the set of texts alone, not on the order of files, and copies of a text
    (equal keys) go together.

    Args:
        keys: (N, 2) halves of the key of every document of the source.
        sizes: (N,) its UTF-8 bytes.
        wanted: bytes to set aside.

    Returns:
        (N,) which documents; none when no document fits into a quarter of the source.
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    new = np.ones(len(order), bool)
    new[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    copies = np.empty(len(order), np.int64)
    copies[order] = np.cumsum(new) - 1
    together = np.bincount(copies, sizes).astype(np.int64)
    room = int(sizes.sum()) // LARGEST_SHARE
    chosen = np.zeros(len(together), bool)
    held = 0
    for text, size in enumerate(together.tolist()):
        if held >= wanted:
            break
        if held + size <= room:
            chosen[text] = True
            held += size
    return chosen[copies]
