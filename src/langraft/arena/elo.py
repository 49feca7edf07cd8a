"""Elo: ratings that move with every battle, so that the order matters; the bootstrap draws votes
with replacement and takes the median.

Kernels are compiled on first use and kept on disk.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from langraft.arena.votes import Ballots

K, START, SCALE = 4.0, 1000.0, 400.0
LANES = 8
MOST_MODELS = 1 << 15

Floats = npt.NDArray[np.float64]


def elo(votes: Ballots) -> Floats:
    """Ratings (models,) after the votes in their order: K 4, start 1000, scale 400, a tie is half a
    win for each (FastChat, `compute_elo`).
    """
    ratings = np.full(len(votes.models), START)
    _play(_packed(votes), np.arange(len(votes)), ratings)
    return ratings


def bootstrap_elo(votes: Ballots, rounds: int, seed: int) -> Floats:
    """Ratings (rounds, models), each after as many votes as there are, drawn with replacement.

    The same seed gives the same ratings on any number of threads.
    """
    padded = -(-rounds // LANES) * LANES
    ratings = np.full((padded, len(votes.models)), START)
    _play_drawn(_packed(votes), ratings, np.uint64(seed))
    return ratings[:rounds]


def _packed(votes: Ballots) -> npt.NDArray[np.uint32]:
    """One vote in 32 bits (15 + 15 + 2), so that a million fit into a core's cache."""
    if len(votes.models) > MOST_MODELS:
        raise ValueError(f"{len(votes.models)} models; at most {MOST_MODELS} can be rated")
    a, b = votes.a.astype(np.uint32), votes.b.astype(np.uint32)
    return (a << 17 | b << 2 | votes.outcome).astype(np.uint32)


@njit(cache=True, inline="always")
def _update(vote: np.uint32, ratings: Floats) -> None:
    a, b, outcome = vote >> 17, (vote >> 2) & 0x7FFF, vote & 3
    # An exponential of the natural base: half the time of 10 ** x, equal to 1e-13.
    expected = 1.0 / (1.0 + np.exp((ratings[b] - ratings[a]) * (np.log(10.0) / SCALE)))
    change = K * (0.5 * outcome - expected)
    ratings[a] += change
    ratings[b] -= change


@njit(cache=True)
def _play(votes: npt.NDArray[np.uint32], order: npt.NDArray[np.int64], ratings: Floats) -> None:
    for i in order:
        _update(votes[i], ratings)


@njit(cache=True, parallel=True)
def _play_drawn(votes: npt.NDArray[np.uint32], ratings: Floats, seed: np.uint64) -> None:
    """Play `LANES` rounds side by side: each waits for its own last rating, not for the others'."""
    count = np.uint64(len(votes))
    for group in prange(len(ratings) // LANES):
        state = np.empty(LANES, np.uint64)
        for lane in range(LANES):
            # splitmix64 spreads neighbouring seeds apart.
            mixed = seed + np.uint64(group * LANES + lane + 1) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state[lane] = mixed ^ (mixed >> np.uint64(31)) | np.uint64(1)
        for _ in range(len(votes)):
            for lane in range(LANES):
                # xorshift64*; its high half times the count is a draw from 0..count-1.
                word = state[lane]
                word ^= word >> np.uint64(12)
                word ^= word << np.uint64(25)
                word ^= word >> np.uint64(27)
                state[lane] = word
                high = (word * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)
                _update(votes[(high * count) >> np.uint64(32)], ratings[group * LANES + lane])
