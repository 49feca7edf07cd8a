"""Texts as the inside of JSON strings, escaped as `json.dumps(..., ensure_ascii=False)` does."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.texts import Texts

LONGEST = 6  # bytes of an escape: \\u001f


def escaped(texts: Texts) -> Texts:
    """Every text with quotes, backslashes and control characters escaped."""
    return Texts(*_escaped(texts.data, texts.offsets, *_escapes()))


@functools.cache
def _escapes() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The escape of every byte, and its length; bytes beyond ASCII are parts of characters, which
    stay as they are.
    """
    found = np.zeros((256, LONGEST), np.uint8)
    sizes = np.ones(256, np.int64)
    found[:, 0] = np.arange(256)
    for byte in range(128):
        escape = json.dumps(chr(byte), ensure_ascii=False)[1:-1].encode()
        found[byte, : len(escape)] = np.frombuffer(escape, np.uint8)
        sizes[byte] = len(escape)
    found.flags.writeable = sizes.flags.writeable = False
    return found, sizes


@compiled
def _escaped(data: Any, offsets: Any, escapes: Any, sizes: Any) -> Any:
    size = 0
    for at in range(offsets[0], offsets[-1]):
        size += sizes[data[at]]
    out = np.empty(size, np.uint8)
    places = np.zeros(len(offsets), np.int64)
    to = 0
    for text in range(len(offsets) - 1):
        for at in range(offsets[text], offsets[text + 1]):
            byte = data[at]
            if sizes[byte] == 1:
                out[to] = byte
                to += 1
                continue
            for place in range(sizes[byte]):
                out[to] = escapes[byte, place]
                to += 1
        places[text + 1] = to
    return out, places
