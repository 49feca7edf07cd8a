"""Bradley-Terry and Davidson strengths by maximum likelihood, for many resamples at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from langraft.arena.votes import Ballots

START, SCALE = 1000.0, 400.0
# A pull of every strength towards the mean that no data feels: one vote weighs a million times
# more. Without it a model that never lost would have no finite estimate.
RIDGE = 1e-6
STEPS, TOLERANCE = 200, 1e-10
# No Newton step moves a strength by more (natural units): from a far start it would overshoot.
LONGEST_STEP = 2.0
CHUNK_CELLS = 2_000_000

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Cells:
    """Every (a, b, outcome) that occurs and how often: all that these likelihoods need.

    The order (by a, b, outcome) is that of `numpy.unique`, so that a multinomial draw from it
    reproduces FastChat's bootstrap.
    """

    models: int
    a: npt.NDArray[np.int32]
    b: npt.NDArray[np.int32]
    outcome: npt.NDArray[np.int8]
    counts: npt.NDArray[np.int64]


def cells(votes: Ballots) -> Cells:
    """The cells of `votes`."""
    models = len(votes.models)
    keys = (votes.a.astype(np.int64) * models + votes.b) * 3 + votes.outcome
    unique, counts = np.unique(keys, return_counts=True)
    pair, outcome = unique // 3, (unique % 3).astype(np.int8)
    a, b = (pair // models).astype(np.int32), (pair % models).astype(np.int32)
    return Cells(models, a, b, outcome, counts)


def resampled(found: Cells, rounds: int, seed: int) -> npt.NDArray[np.int64]:
    """Counts (rounds, cells) of votes drawn with replacement."""
    votes = int(found.counts.sum())
    return np.random.default_rng(seed).multinomial(votes, found.counts / votes, size=rounds)


def strengths(found: Cells, counts: npt.NDArray[np.int64], ties: str) -> Floats:
    """Ratings (rounds, models) on the Elo scale (400 points are odds of 10 to 1, mean 1000).

    Args:
        found: the cells.
        counts: (rounds, cells) how often each occurs in every resample.
        ties: `half`: a tie is half a win for each (Bradley and Terry 1952, as FastChat counts);
            `davidson`: ties have a likelihood of their own (Davidson 1970), whose one parameter is
            fitted with the strengths.
    """
    chunk = max(1, CHUNK_CELLS // found.models**2)
    parts = [
        _fit(*_tables(found, counts[start : start + chunk]), davidson=ties == "davidson")
        for start in range(0, len(counts), chunk)
    ]
    ratings: Floats = START + SCALE / np.log(10.0) * np.concatenate(parts)
    return ratings


def _tables(found: Cells, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Wins of row over column and ties, each (rounds, models, models); ties are symmetric."""
    shape = (len(counts), found.models, found.models)
    wins, ties = np.zeros(shape), np.zeros(shape)
    for outcome, table, first, second in (
        (2, wins, found.a, found.b),
        (0, wins, found.b, found.a),
        (1, ties, found.a, found.b),
        (1, ties, found.b, found.a),
    ):
        here = found.outcome == outcome
        # A pair has at most one cell of each outcome on each side, so that nothing is lost here.
        table[:, first[here], second[here]] += counts[:, here]
    return wins, ties


def _fit(wins: Floats, ties: Floats, *, davidson: bool) -> Floats:
    """Strengths (rounds, models), natural units, mean 0, by Newton's method on all rounds at once.

    With d the difference of two strengths and D = exp(d/2) + exp(-d/2) + v, row wins with
    probability exp(d/2)/D and ties with v/D. v = 0 is Bradley-Terry, where a tie has been split.
    """
    if not davidson:
        wins, ties = wins + ties / 2, np.zeros_like(ties)
    rounds, models, _ = wins.shape
    games = wins + wins.transpose(0, 2, 1) + ties
    margin = (wins - wins.transpose(0, 2, 1)) / 2
    free = models + davidson
    # Half of both symmetric tables: every pair stands in them twice.
    log_v = np.log((ties.sum((1, 2)) + 1) / (games.sum((1, 2)) + 1)) if davidson else None
    r = np.zeros((rounds, models))
    for _ in range(STEPS):
        half = (r[:, :, None] - r[:, None, :]) / 2
        v = np.exp(log_v)[:, None, None] if log_v is not None else 0.0
        total = 2 * np.cosh(half) + v
        tilt = np.sinh(half) / total
        curve = games * (np.cosh(half) / (2 * total) - tilt**2)
        gradient, hessian = np.empty((rounds, free)), np.empty((rounds, free, free))
        gradient[:, :models] = (margin - games * tilt).sum(2) - RIDGE * r
        hessian[:, :models, :models] = -curve
        diagonal = np.arange(models)
        hessian[:, diagonal, diagonal] += curve.sum(2) + RIDGE
        # A shift of all strengths changes nothing; holding their sum at 0 makes the system regular.
        gradient[:, :models] -= r.sum(1, keepdims=True)
        hessian[:, :models, :models] += 1.0
        if davidson:
            share = v / total
            gradient[:, -1] = (ties - games * share).sum((1, 2)) / 2
            across = -(games * share * tilt).sum(2)
            hessian[:, :models, -1] = hessian[:, -1, :models] = across
            hessian[:, -1, -1] = (games * share * (1 - share)).sum((1, 2)) / 2 + RIDGE
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(1, keepdims=True)
        step *= np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-300))
        r += step[:, :models]
        if log_v is not None:
            log_v += step[:, -1]
        if longest.max() < TOLERANCE:
            break
    centred: Floats = r - r.mean(1, keepdims=True)
    return centred


def undecided(found: Cells) -> list[int]:
    """Models whose strength the votes leave open: outside the largest group in which everybody
    beats, or is beaten by, everybody else through a chain of wins and ties. Their estimates lean on
    the ridge alone (Ford 1957).
    """
    beats = np.eye(found.models, dtype=bool)
    beats[found.a[found.outcome >= 1], found.b[found.outcome >= 1]] = True
    beats[found.b[found.outcome <= 1], found.a[found.outcome <= 1]] = True
    while not np.array_equal(wider := (beats.astype(np.float32) @ beats) > 0, beats):
        beats = wider
    mutual = beats & beats.T
    largest = mutual[np.argmax(mutual.sum(1))]
    return [int(i) for i in np.flatnonzero(~largest)]
