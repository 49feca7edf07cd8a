"""Compiled loops over long arrays of characters and tokens: where runs and units begin and end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# What a character is to a run.
OUTSIDE, LETTER, SPACE, NEIGHBOUR = 0, 1, 2, 3


@njit(cache=True)
def find_runs(codes: Int32, kinds: Int8, lead: bool) -> tuple[Int64, Int64]:
    """Stretches of letters, each with the one space in front of it when `lead` is set.

    Args:
        codes: code points, shape (n,).
        kinds: what each code point is, shape (0x110000,).

    Returns:
        Starts and ends.
    """
    starts, ends = np.empty(len(codes), np.int64), np.empty(len(codes), np.int64)
    found = place = 0
    while place < len(codes):
        if kinds[codes[place]] != LETTER:
            place += 1
            continue
        start = place
        if lead and place > 0 and kinds[codes[place - 1]] == SPACE:
            start -= 1
        while place < len(codes) and kinds[codes[place]] == LETTER:
            place += 1
        starts[found], ends[found] = start, place
        found += 1
    return starts[:found].copy(), ends[:found].copy()


@njit(cache=True)
def _neighbour(codes: Int32, kinds: Int8, place: int, step: int) -> int:
    """The far end of the one foreign word beside a letter, a space between them allowed.

    Returns:
        The last place that belongs to it, in the direction of `step`.
    """
    last, place = place, place + step
    if 0 <= place < len(codes) and kinds[codes[place]] == SPACE:
        place += step
    while 0 <= place < len(codes) and kinds[codes[place]] == NEIGHBOUR:
        last, place = place, place + step
    if step < 0 and 0 <= place < len(codes) and kinds[codes[place]] == SPACE:
        last = place
    return last


@njit(cache=True)
def find_mixed_runs(codes: Int32, kinds: Int8) -> tuple[Int64, Int64]:
    """Stretches of letters, foreign words among them, and the foreign word on either side; the
    space in front belongs to it.

    Args and returns as for `find_runs`.
    """
    starts, ends = np.empty(len(codes), np.int64), np.empty(len(codes), np.int64)
    found = place = 0
    while place < len(codes):
        if kinds[codes[place]] != LETTER:
            place += 1
            continue
        start = _neighbour(codes, kinds, place, -1)
        if start > 0 and start == place and kinds[codes[start - 1]] == SPACE:
            start -= 1
        last = place
        while True:
            while place < len(codes) and kinds[codes[place]] == LETTER:
                last, place = place, place + 1
            far = _neighbour(codes, kinds, last, 1)
            after = far + 1
            if after < len(codes) and kinds[codes[after]] == SPACE:
                after += 1
            if after < len(codes) and kinds[codes[after]] == LETTER:
                place = after
            else:
                last = far
                break
        place = last + 1
        starts[found], ends[found] = start, place
        found += 1
    return starts[:found].copy(), ends[:found].copy()


class Units(NamedTuple):
    """Spans of tokens that begin and end at character boundaries.

    Attributes:
        starts, ends: into the tokens; lines: the line that each stands in, from 0.
    """

    starts: Int64
    ends: Int64
    lines: Int64


@njit(cache=True)
def find_units(tokens: Int32, begins: Flags, newline: int) -> Units:
    """Group tokens into units, line by line.

    Args:
        tokens: shape (n,); lines are apart by the token `newline`.
        begins: per token id, whether its bytes begin a character.
    """
    starts, ends = np.empty(len(tokens), np.int64), np.empty(len(tokens), np.int64)
    lines = np.empty(len(tokens), np.int64)
    found, line, fresh = 0, 0, True
    for place in range(len(tokens)):
        if tokens[place] == newline:
            line, fresh = line + 1, True
            continue
        if fresh or begins[tokens[place]]:
            starts[found], lines[found] = place, line
            found += 1
        ends[found - 1], fresh = place + 1, False
    return Units(starts[:found].copy(), ends[:found].copy(), lines[:found].copy())


# What a unit is to a run.
BREAK, INNER, FIRST, ALONE = 0, 1, 2, 3


@njit(cache=True)
def find_words(units: Int32, lines: Int64, roles: Int8) -> tuple[Int64, Int64]:
    """Stretches of units that merges may join.

    Args:
        units: shape (n,).
        lines: the line of each, shape (n,); no stretch goes on over its end.
        roles: per unit, BREAK (belongs to none), INNER, FIRST (begins one) or ALONE.

    Returns:
        Starts and ends.
    """
    starts, ends = np.empty(len(units), np.int64), np.empty(len(units), np.int64)
    found, open_ = 0, False
    for place in range(len(units)):
        role = roles[units[place]]
        if role == BREAK:
            open_ = False
            continue
        if not open_ or role != INNER or lines[place] != lines[place - 1]:
            starts[found] = place
            found += 1
        ends[found - 1], open_ = place + 1, role != ALONE
    return starts[:found].copy(), ends[:found].copy()
