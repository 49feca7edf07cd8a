"""Bradley-Terry and Davidson strengths by maximum likelihood, for many resamples at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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
# Up to so many models outcomes are counted in a table; beyond, they are sorted.
MOST_COUNTED = 2000
# Resamples start at the estimate of all votes and climb with its curvature, which costs no solving;
# those that have not arrived after so many steps (few votes) go on with their own.
FEW_ROUNDS, SHARED_STEPS = 8, 30

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
    if models <= MOST_COUNTED:
        table = np.bincount(keys)
        unique = np.flatnonzero(table)
        counts = table[unique]
    else:
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
    davidson = ties == "davidson"
    chunk = max(1, CHUNK_CELLS // found.models**2)
    start = inverse = None
    if len(counts) > FEW_ROUNDS:
        whole = _tables(found, found.counts[None], davidson=davidson)
        start = _climb(whole, _foot(whole))[0]
        inverse = np.linalg.inv(_slope(whole, start)[1]())[0]
    parts = []
    for first in range(0, len(counts), chunk):
        tables = _tables(found, counts[first : first + chunk], davidson=davidson)
        if start is None:
            parts.append(_climb(tables, _foot(tables))[0])
            continue
        place = np.repeat(start, len(tables.games), 0)
        place, arrived = _climb(tables, place, inverse, SHARED_STEPS)
        if not arrived.all():
            rest = tables.take(~arrived)
            place[~arrived] = _climb(rest, _foot(rest))[0]
        parts.append(place)
    r = np.concatenate(parts)[:, : found.models]
    ratings: Floats = START + SCALE / np.log(10.0) * (r - r.mean(1, keepdims=True))
    return ratings


@dataclasses.dataclass(frozen=True)
class Tables:
    """What a likelihood is made of, each (rounds, models, models).

    Attributes:
        games: battles of row and column.
        margin: half of what row won more than column.
        ties: None where a tie has been split.
    """

    games: Floats
    margin: Floats
    ties: Floats | None

    def take(self, chosen: npt.NDArray[np.bool_]) -> Tables:
        """The rounds where `chosen` (rounds,) holds."""
        ties = None if self.ties is None else self.ties[chosen]
        return Tables(self.games[chosen], self.margin[chosen], ties)


def _tables(found: Cells, counts: npt.NDArray[np.int64], *, davidson: bool) -> Tables:
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
    if not davidson:
        wins = wins + ties / 2
    turned = wins.transpose(0, 2, 1)
    games = wins + turned + ties if davidson else wins + turned
    return Tables(games, (wins - turned) / 2, ties if davidson else None)


def _foot(tables: Tables) -> Floats:
    """Where a climb begins: all strengths equal, ties as frequent as they are."""
    rounds, models, _ = tables.games.shape
    if tables.ties is None:
        return np.zeros((rounds, models))
    log_v = np.log((tables.ties.sum((1, 2)) + 1) / (tables.games.sum((1, 2)) + 1))
    return np.concatenate([np.zeros((rounds, models)), log_v[:, None]], 1)


def _climb(
    tables: Tables, place: Floats, inverse: Floats | None = None, steps: int = STEPS
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The top of the likelihood, all rounds at once, and which rounds have arrived there.

    Args:
        tables: the outcomes.
        place: (rounds, free) strengths in natural units, and in Davidson's model log v.
        inverse: (free, free) the inverse of a curvature near the top, used at every step; without
            it each step solves its own (Newton).
        steps: at most so many.
    """
    for _ in range(steps):
        gradient, curvature = _slope(tables, place)
        if inverse is None:
            step = np.linalg.solve(curvature(), gradient[:, :, None])[:, :, 0]
        else:
            step = gradient @ inverse
        longest = np.abs(step).max(1, keepdims=True)
        place = place + step * np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-300))
        if longest.max() < TOLERANCE:
            break
    return place, longest[:, 0] < TOLERANCE


def _slope(tables: Tables, place: Floats) -> tuple[Floats, Callable[[], Floats]]:
    """The gradient (rounds, free) at `place`, and what computes the curvature (rounds, free, free).

    With d the difference of two strengths and D = exp(d/2) + exp(-d/2) + v, row wins with
    probability exp(d/2)/D and ties with v/D. v = 0 is Bradley-Terry, where a tie has been split.
    """
    games, ties = tables.games, tables.ties
    rounds, models, _ = games.shape
    r = place[:, :models]
    half = (r[:, :, None] - r[:, None, :]) / 2
    if ties is None:
        tilt, share = np.tanh(half) / 2, np.zeros(1)
    else:
        v = np.exp(place[:, -1])[:, None, None]
        total = 2 * np.cosh(half) + v
        tilt, share = np.sinh(half) / total, v / total
    gradient = np.empty_like(place)
    gradient[:, :models] = (tables.margin - games * tilt).sum(2) - RIDGE * r
    # A shift of all strengths changes nothing; holding their sum at 0 makes the system regular.
    gradient[:, :models] -= r.sum(1, keepdims=True)
    if ties is not None:
        gradient[:, -1] = (ties - games * share).sum((1, 2)) / 2

    def curvature() -> Floats:
        hessian = np.empty((rounds, place.shape[1], place.shape[1]))
        curve = games * ((1 - share) / 4 - tilt**2)
        diagonal = np.arange(models)
        hessian[:, :models, :models] = 1.0 - curve
        hessian[:, diagonal, diagonal] += curve.sum(2) + RIDGE
        if ties is not None:
            across = -(games * share * tilt).sum(2)
            hessian[:, :models, -1] = hessian[:, -1, :models] = across
            hessian[:, -1, -1] = (games * share * (1 - share)).sum((1, 2)) / 2 + RIDGE
        return hessian

    return gradient, curvature


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
