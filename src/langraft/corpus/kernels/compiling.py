"""How kernels are compiled: once, kept on disk, without the interpreter's lock."""

from __future__ import annotations

from typing import Any

import numba


def compiled(function: Any) -> Any:
    """A kernel: compiled for the types it is first called with, and cached beside its file."""
    return numba.njit(cache=True, nogil=True)(function)


def inlined(function: Any) -> Any:
    """A part of kernels that is copied into each."""
    return numba.njit(nogil=True, inline="always")(function)
