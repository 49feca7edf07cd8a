"""Texts as the inside of JSON strings, escaped as `json.dumps(..., ensure_ascii=False)` does."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.copying import BLOCK, copied, room
from langraft.corpus.kernels.texts import Texts

LONGEST = 6  # bytes of an escape: \\u001f


def framed(texts: Texts, before: Texts, behind: Texts) -> npt.NDArray[np.uint8]:
    """Every text with quotes, backslashes and control characters escaped, between two texts of its
    own that stay as they are; all in one run of bytes, which the next call in this thread reuses.
    """
    # for the worst case: memory that is not written to costs nothing
    most = LONGEST * int(texts.sizes.sum()) + len(before.data) + len(behind.data)
    out = room("framed", most)
    pairs = (texts, before, behind)
    used = _framed(*(part for t in pairs for part in (t.data, t.offsets)), *_escapes(), out)
    return out[:used]


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
def _framed(
    data: Any,
    offsets: Any,
    before: Any,
    before_offsets: Any,
    behind: Any,
    behind_offsets: Any,
    escapes: Any,
    sizes: Any,
    out: Any,
) -> Any:
    to = 0
    for text in range(len(offsets) - 1):
        to = copied(before, before_offsets[text], before_offsets[text + 1], out, to)
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            stop = plain(data, at, end)
            to = copied(data, at, stop, out, to)
            at = min(stop + BLOCK, end)
            for place in range(stop, at):
                byte = data[place]
                for step in range(sizes[byte]):
                    out[to] = escapes[byte, step]
                    to += 1
        to = copied(behind, behind_offsets[text], behind_offsets[text + 1], out, to)
    return to


@compiled
def plain(data: Any, start: Any, end: Any) -> Any:
    """Where the first block from `start` on begins that holds a byte to escape, or is not whole."""
    while start + BLOCK <= end:
        block = data[start : start + BLOCK]
        # three sums, which the compiler takes over all bytes at once
        control = quote = backslash = 0
        for place in range(BLOCK):
            control |= block[place] < 32
            quote |= block[place] == 34
            backslash |= block[place] == 92
        if control | quote | backslash:
            break
        start += BLOCK
    return start
