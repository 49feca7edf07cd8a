"""Whose turn each row of a mix is, in exact shares, for any row at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

FINEST = 1_000_000  # shares are taken to six decimals


class Turns:
    """Gives every row to one of several shares, so that no running total is ever a row or more away
    from its share.

    Rows go one by one to the share whose deadline comes first among those that are owed enough
    (R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32, 1980); giving each row
    to the share that is owed most would break the bound with three shares or more. Shares are whole
    numbers over a common denominator, so the turns repeat after so many rows, and the counts before
    row 10 billion are known at once.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self.weights = _whole(shares)
        self.period = sum(self.weights)
        self._taken = [0] * len(shares)
        self._before = [tuple(self._taken)]

    def before(self, row: int) -> NDArray[np.int64]:
        """How many of the first `row` rows each share has, shape (shares,)."""
        rounds, within = divmod(row, self.period)
        while len(self._before) <= within:
            self._next()
        return rounds * np.array(self.weights, dtype=np.int64) + np.array(self._before[within])

    def _next(self) -> None:
        row, period, taken = len(self._before), self.period, self._taken
        enough = max(2, 2 * len(taken) - 2)  # a share is owed enough at 1/enough of a row
        best, chosen = None, 0
        for index, weight in enumerate(self.weights):
            owed = weight * row - taken[index] * period
            if not weight or owed * enough < period:
                continue
            deadline = -(-(period * enough - period - owed * enough) // (weight * enough))
            if best is None or deadline < best:
                best, chosen = deadline, index
        taken[chosen] += 1
        self._before.append(tuple(taken))


def _whole(shares: Sequence[float]) -> list[int]:
    """The shares as the smallest whole numbers, rounded at `FINEST` with none lost."""
    total = math.fsum(shares)
    exact = [share / total * FINEST for share in shares]
    found = [round(value) for value in exact]
    while (left := FINEST - sum(found)) != 0:
        step = 1 if left > 0 else -1
        index = max(range(len(found)), key=lambda i: step * (exact[i] - found[i]))
        found[index] += step
    divisor = math.gcd(*found)
    return [value // divisor for value in found]


def diffuse(shares: Sequence[float], rows: int, steps: int) -> NDArray[np.int64]:
    """Whole rows for each step and share, shape (steps, shares): every step sums to `rows`."""
    turns = Turns(shares)
    before = np.array([turns.before(step * rows) for step in range(steps + 1)])
    return np.diff(before, axis=0)


@dataclasses.dataclass(frozen=True)
class _Segment:
    """Shares that hold from a step on, and the rows that each part had before it."""

    step: int
    turns: Turns
    before: NDArray[np.int64]


class Mix:
    """Which parts (languages or sources) the `rows` rows of each batch belong to.

    Each batch takes whole rows; what a share leaves over is carried to the next batch (error
    diffusion), so that after any
    number of steps every part is within one row of its share. It depends on the step and the shares
    alone, not on who reads.
    """

    def __init__(self, shares: Mapping[str, float], rows: int) -> None:
        """Start with `shares`; those of 0 are left out."""
        self.parts = [part for part in shares if shares[part] > 0]
        self._rows = rows
        zero = np.zeros(len(self.parts), np.int64)
        self._segments = [_Segment(0, Turns([shares[part] for part in self.parts]), zero)]

    def change(self, step: int, shares: Mapping[str, float]) -> None:
        """From 0-based `step` on other shares of the same parts hold."""
        turns = Turns([shares[part] for part in self.parts])
        self._segments.append(_Segment(step, turns, self.before(step)))

    def before(self, step: int) -> NDArray[np.int64]:
        """Rows of each part in the first `step` batches, shape (parts,)."""
        segment = next(s for s in reversed(self._segments) if s.step <= step)
        return segment.before + segment.turns.before((step - segment.step) * self._rows)

    def places(self, step: int) -> list[tuple[int, int]]:
        """The rows of 0-based `step` as (number of the part, row of that part)."""
        first, last = self.before(step), self.before(step + 1)
        return [
            (part, row)
            for part in range(len(self.parts))
            for row in range(int(first[part]), int(last[part]))
        ]
