"""What the kernels' hashes are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from langraft.corpus.kernels.compiling import inlined

BASIS, PRIME = 0xCBF29CE484222325, 0x100000001B3  # FNV-1a, 64 bits
MIX = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: odd, its powers spread


@inlined
def fnv(value: Any, part: Any) -> Any:
    """`value`, which starts as `BASIS`, with one more byte or code point in it."""
    return (value ^ np.uint64(part)) * np.uint64(PRIME)
