"""Lines: found, hashed, cut out; and digits that may be a number worth hiding."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.hashing import BASIS, MIX, fnv
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.kernels.unicode import SPACE, classes, decode

DIGITS, DOTTED = 1, 2


class Lines(NamedTuple):
    """The long lines of many texts, in order.

    Attributes:
        hashes: 64 bits of each line without the white space around it.
        texts: the number of its text.
        starts, ends: where it lies in the texts' bytes, the white space around it and its line end
            included.
        sizes: its characters without that white space.
    """

    hashes: npt.NDArray[np.uint64]
    texts: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def take(self, chosen: npt.NDArray[Any]) -> Lines:
        """The lines with these numbers, or those of a mask."""
        return Lines(
            self.hashes[chosen],
            self.texts[chosen],
            self.starts[chosen],
            self.ends[chosen],
            self.sizes[chosen],
        )


def long_lines(texts: Texts, shortest: int) -> Lines:
    """The lines of at least `shortest` characters."""
    return Lines(*_lines(texts.data, texts.offsets, classes(), shortest))


def without(texts: Texts, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Texts:
    """The texts without these stretches of bytes, which are sorted and do not overlap."""
    return Texts(*_without(texts.data, texts.offsets, starts, ends))


def number_flags(texts: Texts) -> npt.NDArray[np.uint8]:
    """Which texts hold eleven digits in a row, single blanks and hyphens between them allowed
    (`DIGITS`), and which hold digits with three dots between them (`DOTTED`).
    """
    return _number_flags(texts.data, texts.offsets)


@compiled
def _lines(data: Any, offsets: Any, table: Any, shortest: Any) -> Any:
    room = 16
    for byte in data:
        room += byte == 10
    room += len(offsets)
    hashes, owners = np.empty(room, np.uint64), np.empty(room, np.int32)
    starts, ends, sizes = (
        np.empty(room, np.int64),
        np.empty(room, np.int64),
        np.empty(room, np.int64),
    )
    found = 0
    for text in range(len(offsets) - 1):
        start = at = offsets[text]
        size = visible_size = 0
        value = visible_value = np.uint64(BASIS)
        while at <= offsets[text + 1]:
            finished = at == offsets[text + 1]
            if finished or data[at] == 10:
                if visible_size >= shortest:
                    mixed = visible_value * np.uint64(MIX)
                    hashes[found] = mixed ^ (mixed >> np.uint64(29))
                    owners[found], sizes[found] = text, visible_size
                    starts[found] = start
                    ends[found] = at if finished else at + 1
                    found += 1
                size = visible_size = 0
                value = np.uint64(BASIS)
                at += 1
                start = at
                continue
            point, at = decode(data, at)
            space = (table[point] & SPACE) != 0
            if size or not space:
                size += 1
                value = fnv(value, point)
                if not space:
                    visible_size, visible_value = size, value
    return hashes[:found], owners[:found], starts[:found], ends[:found], sizes[:found]


@compiled
def _without(data: Any, offsets: Any, starts: Any, ends: Any) -> Any:
    out = np.empty(len(data), np.uint8)
    places = np.zeros(len(offsets), np.int64)
    size = cut = 0
    for text in range(len(offsets) - 1):
        at = offsets[text]
        while at < offsets[text + 1]:
            while cut < len(starts) and ends[cut] <= at:
                cut += 1
            if cut < len(starts) and starts[cut] <= at:
                at = ends[cut]
                continue
            out[size] = data[at]
            size += 1
            at += 1
        places[text + 1] = size
    return out[:size].copy(), places


@compiled
def _number_flags(data: Any, offsets: Any) -> Any:
    flags = np.zeros(len(offsets) - 1, np.uint8)
    for text in range(len(offsets) - 1):
        digits = dots = gap = 0
        for at in range(offsets[text], offsets[text + 1]):
            byte = data[at]
            if 48 <= byte <= 57:
                digits += 1
                gap = 0
                if digits >= 11:
                    flags[text] |= DIGITS
                if dots >= 3:
                    flags[text] |= DOTTED
            elif digits and gap == 0 and (byte == 32 or byte == 45 or byte == 46):
                gap = 1
                dots += byte == 46
                if byte != 46:
                    dots = 0
            else:
                digits = dots = gap = 0
    return flags
