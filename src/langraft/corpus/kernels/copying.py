"""Bytes moved in bulk, and where to."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled, inlined

BLOCK = 32  # bytes that are looked at together

_rooms = threading.local()


def room(use: str, size: int) -> npt.NDArray[np.uint8]:
    """At least `size` bytes of this thread to write to, until it asks for the same use again.

    Memory that is taken anew each time has to be cleared by the system each time, which takes
    about as long as what a kernel does to it.
    """
    held: dict[str, npt.NDArray[np.uint8]] = _rooms.__dict__
    if use not in held or len(held[use]) < size:
        held[use] = np.empty(size, np.uint8)
    return held[use]


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
