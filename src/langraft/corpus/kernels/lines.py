"""Lines: found, hashed, cut out; and digits that may be a number worth hiding."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.copying import BLOCK
from langraft.corpus.kernels.hashing import BASIS, MIX, fnv
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.kernels.unicode import SPACE, classes, decode, space_bytes

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
    return Lines(*_lines(texts.data, texts.offsets, classes(), space_bytes(), max(1, shortest)))


def without(texts: Texts, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Texts:
    """The texts without these stretches of bytes, which are sorted and do not overlap."""
    return Texts(*_without(texts.data, texts.offsets, starts, ends))


def number_flags(texts: Texts) -> npt.NDArray[np.uint8]:
    """Which texts hold eleven digits in a row, single blanks and hyphens between them allowed
    (`DIGITS`), and which hold digits with three dots between them (`DOTTED`).
    """
    return _number_flags(texts.data, texts.offsets)


@compiled
def _lines(data: Any, offsets: Any, table: Any, spaces: Any, shortest: Any) -> Any:
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
        at = offsets[text]
        while at < offsets[text + 1]:
            start, end = at, _line_end(data, at, offsets[text + 1])
            at = min(end + 1, offsets[text + 1])
            if end - start < shortest:
                continue
            first, last = _visible(data, start, end, table, spaces)
            line = data[first:last]
            size = 0
            for place in range(len(line)):
                size += (line[place] & 0xC0) != 0x80
            if size < shortest:
                continue
            hashes[found], owners[found], sizes[found] = _hash(line), text, size
            starts[found], ends[found] = start, at
            found += 1
    return hashes[:found], owners[:found], starts[:found], ends[:found], sizes[:found]


@compiled
def _line_end(data: Any, at: Any, end: Any) -> Any:
    """Where the next line end stands, or `end`."""
    while at + BLOCK <= end:
        block = data[at : at + BLOCK]
        met = 0  # a sum, which the compiler takes over all bytes at once
        for place in range(BLOCK):
            met |= block[place] == 10
        if met:
            break
        at += BLOCK
    while at < end and data[at] != 10:
        at += 1
    return at


@compiled
def _visible(data: Any, first: Any, last: Any, table: Any, spaces: Any) -> Any:
    """A stretch without the white space at its ends."""
    while first < last and spaces[data[first]]:
        point, following = decode(data, first)
        if not table[point] & SPACE:
            break
        first = following
    while first < last:
        before = last - 1
        while data[before] & 0xC0 == 0x80:
            before -= 1
        if not spaces[data[before]] or not table[decode(data, before)[0]] & SPACE:
            break
        last = before
    return first, last


@compiled
def _hash(line: Any) -> Any:
    """64 bits of a line, eight bytes at a time."""
    value = np.uint64(BASIS) ^ np.uint64(len(line))
    whole = len(line) // 8 * 8
    for word in line[:whole].view(np.uint64):
        value = (value ^ word) * np.uint64(MIX)
        value ^= value >> np.uint64(32)
    for byte in line[whole:]:
        value = fnv(value, byte)
    value *= np.uint64(MIX)
    return value ^ (value >> np.uint64(29))


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
