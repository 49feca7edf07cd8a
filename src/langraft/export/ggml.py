"""ggml's own quantiser, from the shared library inside the xllamacpp wheel."""

from __future__ import annotations

import ctypes
import functools

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from langraft.tokenizer.llama_cpp import Signatures, declare, library

PLAIN = {
    GGMLQuantizationType.F32: "float32",
    GGMLQuantizationType.F16: "float16",
}


SIGNATURES: Signatures = {
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ),
    ),
}


@functools.cache
def quantiser() -> ctypes.CDLL:
    """The library, ready to quantise.

    Raises:
        BadInput: xllamacpp is not installed.
    """
    code = library()
    declare(code, SIGNATURES)
    return code


def row_bytes(kind: GGMLQuantizationType, columns: int) -> int:
    """Bytes that one row of `columns` numbers takes as `kind`."""
    block, size = GGML_QUANT_SIZES[kind]
    assert columns % block == 0
    return columns // block * size


def quantise(rows: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """Rows as ggml stores them.

    Args:
        rows: float32, shape (rows, columns), C-contiguous.
        kind: the type; `columns` is a multiple of its block.

    Returns:
        uint8, shape (rows, bytes of a row).
    """
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    height, columns = rows.shape
    if kind in PLAIN:
        return rows.astype(PLAIN[kind]).view(np.uint8)
    if kind is GGMLQuantizationType.BF16:
        return _bfloat16(rows)
    out = np.empty((height, row_bytes(kind, columns)), dtype=np.uint8)
    written = quantiser().ggml_quantize_chunk(
        int(kind), rows.ctypes.data, out.ctypes.data, 0, height, columns, None
    )
    assert written == out.nbytes
    return out


def _bfloat16(rows: np.ndarray) -> np.ndarray:
    """Rounded to nearest even; the weights of a model hold no NaN, so none is guarded."""
    bits = rows.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype(np.uint16).view(np.uint8)
