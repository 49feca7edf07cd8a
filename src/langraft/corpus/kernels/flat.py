"""JSON lines of the commonest kind, read without a parser's events: objects of strings, numbers and
constants.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.copying import BLOCK, copied
from langraft.corpus.kernels.escape import plain
from langraft.corpus.kernels.texts import Texts

SHORTEST_LINE = 7  # bytes: {"":""}
LONGEST_NUMBER = 18  # digits before the point: `json.loads` refuses only far longer ones
CONSTANTS = ("true", "false", "null")


def flat_texts(data: npt.NDArray[np.uint8], key: str) -> Texts | None:
    """The string that stands once under `key` in each line of `data`, which must be UTF-8.

    Returns:
        None where a line is no such object, holds a list, an object, a character escaped by
        its number or a number with an exponent, or may be wrong: another reader has to look at it.
    """
    out = np.empty(len(data), np.uint8)
    ends = np.zeros(len(data) // SHORTEST_LINE + 2, np.int64)
    wanted = np.frombuffer(key.encode(), np.uint8)
    many = _flat(data, wanted, _unescaped(), out, ends)
    return Texts(out[: ends[many]], ends[: many + 1]) if many > 0 else None


@functools.cache
def _unescaped() -> npt.NDArray[np.uint8]:
    """What the byte behind a backslash stands for; 0 where that is not one byte."""
    found = np.zeros(256, np.uint8)
    for letter in '"\\/bfnrt':
        found[ord(letter)] = ord(json.loads(f'"\\{letter}"'))
    found.flags.writeable = False
    return found


@compiled
def _flat(data: Any, wanted: Any, unescaped: Any, out: Any, ends: Any) -> Any:
    """Returns the number of lines, or -1."""
    at, end = 0, len(data)
    many = to = 0
    while at < end:
        if data[at] != 123:  # {
            return -1
        found = False
        comma = True
        at = _blank(data, at + 1, end)
        while comma:
            if at == end or data[at] != 34:
                return -1
            at, stop = _string(data, at + 1, end, unescaped, out, to)
            own = at > 0 and stop - to == len(wanted) and (out[to:stop] == wanted).all()
            at = _blank(data, at, end)
            if at < 0 or at == end or data[at] != 58:  # :
                return -1
            at = _blank(data, at + 1, end)
            if at < end and data[at] == 34:
                at, stop = _string(data, at + 1, end, unescaped, out, to)
                if own and found:
                    return -1
                if own:
                    found, to = True, stop
            else:
                at = -1 if own else _scalar(data, at, end)
            at = _blank(data, at, end)
            if at < 0 or at == end:
                return -1
            comma = data[at] == 44
            if comma:
                at = _blank(data, at + 1, end)
        if not found or data[at] != 125:  # }
            return -1
        at = _blank(data, at + 1, end)
        if at < end and data[at] != 10:
            return -1
        at += 1
        many += 1
        ends[many] = to
    return many


@compiled
def _blank(data: Any, at: Any, end: Any) -> Any:
    """Behind blanks, tabs and returns; a failure (-1) stays one."""
    while 0 <= at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
        at += 1
    return at


@compiled
def _string(data: Any, at: Any, end: Any, unescaped: Any, out: Any, to: Any) -> Any:
    """Copy the inside of the string that starts at `at` to `out[to:]`.

    Returns:
        Where the next byte of `data` stands, or -1; and where the copy ends.
    """
    while at < end:
        stop = plain(data, at, end)
        to = copied(data, at, stop, out, to)
        at, stop = stop, min(stop + BLOCK, end)
        while at < stop:
            byte = data[at]
            if byte == 34:
                return at + 1, to
            if byte == 92:
                at += 1
                byte = unescaped[data[at]] if at < end else byte
                if byte == 0:
                    return -1, to
            elif byte < 32:
                return -1, to
            out[to] = byte
            to += 1
            at += 1
    return -1, to


@compiled
def _scalar(data: Any, at: Any, end: Any) -> Any:
    """Behind the number or constant at `at`, or -1."""
    for constant in CONSTANTS:
        if end - at >= len(constant):
            equal = True
            for place in range(len(constant)):
                equal &= data[at + place] == ord(constant[place])
            if equal:
                return at + len(constant)
    at += at < end and data[at] == 45  # -
    start = at
    while at < end and 48 <= data[at] <= 57:
        at += 1
    if at == start or at - start > LONGEST_NUMBER or (data[start] == 48 and at - start > 1):
        return -1
    if at < end and data[at] == 46:  # .
        start = at = at + 1
        while at < end and 48 <= data[at] <= 57:
            at += 1
        if at == start:
            return -1
    return at
