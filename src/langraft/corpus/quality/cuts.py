"""Scores into grades: which documents are high, which medium, which go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from langraft.core.errors import BadInput

Grade = Literal["high", "medium", "low"]


class Shares(NamedTuple):
    """Which share of the documents, the best first, is graded `high` and which `medium`."""

    high: float
    medium: float
    source: str


PRESETS: Mapping[str, Shares] = {
    "ziya2": Shares(0.3, 0.3, "Ziya2: Gan et al. 2023, arXiv 2311.03301 (KenLM perplexity)"),
    "half": Shares(0.0, 0.5, "CCNet's head and middle: Wenzek et al. 2019, arXiv 1911.00359"),
    "none": Shares(0.0, 1.0, "scores are stored, nothing is dropped"),
}


class Cut(NamedTuple):
    """Two scores that part three grades; a score equal to one belongs to the better side."""

    high: float
    medium: float
    higher_is_better: bool

    def grade(self, score: float) -> Grade:
        """The grade of one score."""
        sign = 1 if self.higher_is_better else -1
        if sign * score >= sign * self.high:
            return "high"
        return "medium" if sign * score >= sign * self.medium else "low"


def shares(preset: str) -> Shares:
    """The shares of a named preset.

    Raises:
        BadInput: there is none of that name.
    """
    if preset not in PRESETS:
        raise BadInput(f"corpus.quality.cut: no cut is called {preset!r}; {', '.join(PRESETS)}")
    return PRESETS[preset]


def cut_of(scores: Sequence[float], wanted: Shares, higher_is_better: bool) -> Cut:
    """The cut that gives the best `wanted.high` of `scores` the grade high and the next
    `wanted.medium` medium; equal scores share a grade, so a little more than asked may pass.

    Raises:
        BadInput: the shares are not shares, there is no score, or one is not a number.
    """
    if min(wanted.high, wanted.medium) < 0 or wanted.high + wanted.medium > 1 + 1e-9:
        raise BadInput(
            f"corpus.quality: high {wanted.high} and medium {wanted.medium} are no shares of one"
        )
    values = np.sort(np.asarray(scores, np.float64))
    if not len(values) or not np.isfinite(values).all():
        raise BadInput("corpus.quality: no cut without scores that are numbers")
    best_first = values[::-1] if higher_is_better else values
    beyond = np.inf if higher_is_better else -np.inf
    bounds = []
    for share in (wanted.high, wanted.high + wanted.medium):
        count = round(share * len(values))
        bounds.append(float(best_first[count - 1]) if count else beyond)
    return Cut(bounds[0], bounds[1], higher_is_better)
