"""Bytes moved in bulk."""

from __future__ import annotations

from typing import Any

from langraft.corpus.kernels.compiling import compiled, inlined

BLOCK = 32  # bytes that are looked at together


@inlined
def copied(data: Any, start: Any, end: Any, out: Any, to: Any) -> Any:
    """Copy a stretch of `data` to `out[to:]`; returns where the next one goes.

    Over slices: an index that may be negative would keep the compiler from moving many bytes at
    once.
    """
    source, target = data[start:end], out[to : to + end - start]
    for place in range(len(source)):
        target[place] = source[place]
    return to + end - start


@compiled
def gather(data: Any, starts: Any, sizes: Any, out: Any, places: Any) -> None:
    """Copy stretches of `data` to their places in `out`."""
    for row in range(len(starts)):
        copied(data, starts[row], starts[row] + sizes[row], out, places[row])
