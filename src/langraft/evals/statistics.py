"""Intervals and comparisons: how much of a score, or of a difference, may be chance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

Z95 = 1.959963984540054
RESAMPLES = 2000
BLOCK = 200


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; `count` values stand behind it."""

    value: float
    low: float
    high: float
    count: int


def wilson(right: int, count: int) -> Estimate:
    """The share of right answers with Wilson's score interval (1927), which stays inside 0 to 1.

    Raises:
        ValueError: nothing was counted.
    """
    if not count:
        raise ValueError("no interval without a question")
    share, z = right / count, Z95
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count)
    half *= math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), count)


def micro(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean over questions: Wilson's interval when each is right or wrong, else a bootstrap."""
    if set(values) <= {0.0, 1.0}:
        return wilson(round(sum(values)), len(values))
    return macro({"all": values}, seed)


def macro(groups: Mapping[str, Sequence[float]], seed: int = 0) -> Estimate:
    """The mean of the groups' means, with an interval from resampling inside each group.

    Raises:
        ValueError: a group without a value.
    """
    if not groups or any(not values for values in groups.values()):
        raise ValueError("no mean of a group without a question")
    means = np.zeros(RESAMPLES)
    generator = np.random.default_rng(seed)
    for values in groups.values():
        means += _resampled(np.asarray(values, dtype=float), generator)
    means /= len(groups)
    value = float(np.mean([np.mean(values) for values in groups.values()]))
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(value, float(low), float(high), sum(map(len, groups.values())))


def _resampled(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means of RESAMPLES resamples, some at a time so that memory stays small."""
    found = []
    for start in range(0, RESAMPLES, BLOCK):
        size = (min(BLOCK, RESAMPLES - start), len(values))
        found.append(values[generator.integers(0, len(values), size)].mean(axis=1))
    return np.concatenate(found)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A second score minus a first on the same questions.

    Attributes:
        p: how often chance alone makes a difference at least as large: McNemar's exact test where
            every question is right or wrong, else random flips of sign.
        better, worse: questions that changed for the better or the worse.
    """

    value: float
    low: float
    high: float
    p: float
    better: int
    worse: int
    count: int


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Difference:
    """The difference of two models on the same questions, question by question.

    Raises:
        ValueError: different numbers of questions, or none.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} questions cannot be paired")
    change = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    generator = np.random.default_rng(seed)
    low, high = np.quantile(_resampled(change, generator), [0.025, 0.975])
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    binary = set(map(float, (*first, *second))) <= {0.0, 1.0}
    p = mcnemar(better, worse) if binary else _sign_flips(change, generator)
    return Difference(float(change.mean()), float(low), float(high), p, better, worse, len(change))


def mcnemar(better: int, worse: int) -> float:
    """The two-sided exact p-value that `better` and `worse` changes come from a fair coin."""
    count, least = better + worse, min(better, worse)
    if not count:
        return 1.0
    log_half = count * math.log(2)
    tail = sum(
        math.exp(
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - log_half
        )
        for k in range(least + 1)
    )
    return min(1.0, 2 * tail)


def _sign_flips(change: np.ndarray, generator: np.random.Generator) -> float:
    """The share of random sign changes whose mean is at least as far from zero, the observed one
    counted in.
    """
    observed, extreme = abs(change.mean()), 1
    for start in range(0, RESAMPLES, BLOCK):
        size = (min(BLOCK, RESAMPLES - start), len(change))
        signs = generator.choice([-1.0, 1.0], size)
        extreme += int((np.abs((signs * change).mean(axis=1)) >= observed - 1e-15).sum())
    return extreme / (RESAMPLES + 1)
