"""Normalisation of many texts at once, equal to `clean.normalise` character by character.

Almost every code point is normalised by itself: kept, dropped, turned into a line end, or replaced
by a fixed string. The few that canonical composition can join to a neighbour or reorder (combining
marks, Hangul letters) mark their text as hard, and the caller normalises that text in Python.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import regex

from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.kernels.unicode import CODE_POINTS, decode, every_character, seconds

COPY, DROP, LINE_END, RETURN, REPLACE, HARD = range(6)
NEWLINE, BLANK, TAB = 10, 32, 9


class Table(NamedTuple):
    """What to do with every code point.

    Attributes:
        kinds: one of the six kinds above.
        starts, ends: where the replacement lies in `replacements`, for kind REPLACE.
        replacements: UTF-8 bytes.
    """

    kinds: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]
    replacements: npt.NDArray[np.uint8]


@functools.cache
def table(kept: str, invisible: str, line_ends: str) -> Table:
    """The table for NFKC with exceptions.

    Args:
        kept: the inside of a character class: these stay as they are.
        invisible: likewise: these are dropped.
        line_ends: likewise: these become a line end, `\\r` only where no `\\n` follows.
    """
    characters = every_character()
    kinds = np.zeros(CODE_POINTS, np.uint8)
    starts, ends = np.zeros(CODE_POINTS, np.int32), np.zeros(CODE_POINTS, np.int32)
    written = bytearray()
    joins = seconds()
    kinds[list(joins)] = HARD
    for found in regex.finditer(
        r"[^\x00-\x7f\p{Co}\p{Cn}\p{Script=Han}\p{Script=Hangul}]"
        r"|[\p{Script=Hangul}--[\uac00-\ud7a3]]|[\uf900-\ufaff]"
        r"|[\U0002f800-\U0002fa1f]|[\p{Script=Han}&&[\p{S}\p{N}]]"
        r"|[\u2e80-\u2fdf]",
        characters,
        regex.V1,
    ):
        form = unicodedata.normalize("NFKC", found[0])
        if form == found[0]:
            continue
        place = found.start()
        if ord(form[0]) in joins or any(ord(c) in joins for c in form):
            kinds[place] = HARD
            continue
        kinds[place], starts[place] = REPLACE, len(written)
        written += form.encode()
        ends[place] = len(written)
    for members, kind in ((kept, COPY), (line_ends, LINE_END), (invisible, DROP)):
        for found in regex.finditer(f"[{members}]+", characters):
            kinds[found.start() : found.end()] = kind
    kinds[ord("\r")] = RETURN
    kinds[0] = DROP  # the half pairs stand as NUL in `characters`
    return Table(kinds, starts, ends, np.frombuffer(bytes(written), np.uint8))


def normalised(texts: Texts, how: Table, single_spaces: bool) -> tuple[Texts, list[int]]:
    """Every text normalised, and the numbers of those that are hard and must be done anew.

    `single_spaces` turns a run of blanks and tabs inside a line (not at its start) into one blank.
    """
    needed, hard = _survey(texts.data, texts.offsets, how.kinds, how.starts, how.ends)
    data, offsets = _write(texts.data, texts.offsets, *how, single_spaces, needed)
    return Texts(data, offsets), np.flatnonzero(hard).tolist()


@compiled
def _survey(data: Any, offsets: Any, kinds: Any, starts: Any, ends: Any) -> Any:
    """An upper bound of the bytes to write, and which texts are hard."""
    needed = np.int64(len(data))
    hard = np.zeros(len(offsets) - 1, np.uint8)
    for text in range(len(offsets) - 1):
        at = offsets[text]
        while at < offsets[text + 1]:
            if data[at] < 0x80:
                at += 1
                continue
            point, following = decode(data, at)
            kind = kinds[point]
            if kind == REPLACE:
                needed += max(0, ends[point] - starts[point] - (following - at))
            elif kind == HARD:
                hard[text] = 1
            at = following
    return needed, hard


@compiled
def _write(
    data: Any,
    offsets: Any,
    kinds: Any,
    starts: Any,
    ends: Any,
    replacements: Any,
    single_spaces: Any,
    needed: Any,
) -> Any:
    out = np.empty(needed, np.uint8)
    places = np.zeros(len(offsets), np.int64)
    size = 0
    for text in range(len(offsets) - 1):
        first = size
        at = offsets[text]
        after_return = False
        while at < offsets[text + 1]:
            point, following = decode(data, at)
            kind = kinds[point]
            if kind == DROP:
                at = following
                continue
            if point == NEWLINE and after_return:
                after_return = False
                at = following
                continue
            after_return = kind == RETURN
            if point == NEWLINE or kind in (LINE_END, RETURN):
                while size > first and (out[size - 1] == BLANK or out[size - 1] == TAB):
                    size -= 1
                blank_line = size - first >= 2 and out[size - 1] == out[size - 2] == NEWLINE
                if size > first and not blank_line:
                    out[size] = NEWLINE
                    size += 1
            elif kind == REPLACE:
                for index in range(starts[point], ends[point]):
                    out[size] = replacements[index]
                    size += 1
            else:
                while at < following:
                    out[size] = data[at]
                    size += 1
                    at += 1
            at = following
        while size > first and (out[size - 1] == BLANK or out[size - 1] == TAB):
            size -= 1
        while size > first and out[size - 1] == NEWLINE:
            size -= 1
        if single_spaces:
            size = _single(out, first, size)
        places[text + 1] = size
    return out[:size].copy(), places


@compiled
def _single(out: Any, first: Any, size: Any) -> Any:
    """Join runs of blanks and tabs inside lines, in place; returns the new end."""
    to = first
    indent = True
    for at in range(first, size):
        byte = out[at]
        space = byte in (BLANK, TAB)
        if space and not indent:
            if out[to - 1] == BLANK:
                continue
            byte = BLANK
        indent = byte == NEWLINE or (indent and space)
        out[to] = byte
        to += 1
    return to
