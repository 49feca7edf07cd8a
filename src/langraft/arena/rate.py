"""From votes to a table: ratings with intervals and ranks, win rates, length bias, categories."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.arena.elo import bootstrap_elo, elo
from langraft.arena.strength import cells, resampled, strengths, undecided
from langraft.arena.votes import Ballots, Vote, ballots
from langraft.core.errors import BadInput

Floats = npt.NDArray[np.float64]
# A category with fewer votes is counted, not rated.
FEWEST_VOTES = 30


def _elo(votes: Ballots, rounds: int, seed: int) -> tuple[Floats, Floats]:
    return elo(votes), bootstrap_elo(votes, rounds, seed)


def _likelihood(ties: str) -> Callable[[Ballots, int, int], tuple[Floats, Floats]]:
    def fit(votes: Ballots, rounds: int, seed: int) -> tuple[Floats, Floats]:
        found = cells(votes)
        point = strengths(found, found.counts[None], ties)[0]
        return point, strengths(found, resampled(found, rounds, seed), ties)

    return fit


# Each: votes, rounds, seed -> ratings (models,) and their bootstrap (rounds, models).
SYSTEMS: dict[str, Callable[[Ballots, int, int], tuple[Floats, Floats]]] = {
    "elo": _elo,
    "bradley-terry": _likelihood("half"),
    "davidson": _likelihood("davidson"),
}


def leaderboard(votes: Ballots, system: str, rounds: int, seed: int) -> list[dict[str, Any]]:
    """One row a model, best first.

    `rating` is the bootstrap's median for Elo, where the order of the votes is chance, and the
    estimate itself otherwise; `low` and `high` are the 2.5 and 97.5 percentiles; `rank` is 1 plus
    the models whose low is above this one's high; `open` marks a model that the votes do not tie
    to the others, whose rating means nothing.
    """
    point, drawn = SYSTEMS[system](votes, rounds, seed)
    low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975], axis=0)
    rating = middle if system == "elo" else point
    ranks = 1 + (low[None, :] > high[:, None]).sum(1)
    wins, games, ties = tables(votes)
    loose = set(undecided(cells(votes)))
    rows = [
        {
            "model": model,
            "rating": float(rating[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "rank": int(ranks[i]),
            "battles": int(games[i].sum()),
            "wins": int(wins[i].sum()),
            "ties": int(ties[i].sum()),
            "losses": int(wins[:, i].sum()),
            "win_rate": _share(wins[i].sum(), wins[i].sum() + wins[:, i].sum()),
            "win_rate_with_ties": _share(wins[i].sum() + ties[i].sum() / 2, games[i].sum()),
            "open": i in loose,
        }
        for i, model in enumerate(votes.models)
    ]
    return sorted(rows, key=lambda row: (-float(row["rating"]), str(row["model"])))


def tables(votes: Ballots) -> tuple[Floats, Floats, Floats]:
    """Wins of row over column, battles, and ties, each (models, models)."""
    models = len(votes.models)
    wins, ties = np.zeros((models, models)), np.zeros((models, models))
    np.add.at(wins, (votes.a[votes.outcome == 2], votes.b[votes.outcome == 2]), 1)
    np.add.at(wins, (votes.b[votes.outcome == 0], votes.a[votes.outcome == 0]), 1)
    np.add.at(ties, (votes.a[votes.outcome == 1], votes.b[votes.outcome == 1]), 1)
    ties = ties + ties.T
    return wins, wins + wins.T + ties, ties


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not whole:
        return 0.0, 1.0
    z, p = 1.959964, part / whole
    middle = (p + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole)) / (1 + z * z / whole)
    return max(0.0, middle - half), min(1.0, middle + half)


def matrix(votes: Ballots, order: Sequence[str]) -> dict[str, list[list[float | None]]]:
    """Win rates of row against column in `order`: `without_ties` counts decided battles alone,
    `with_ties` a tie as half a win; None where the two never met.
    """
    wins, games, ties = tables(votes)
    place = [votes.models.index(name) for name in order]
    decided = wins + wins.T
    return {
        "without_ties": [[_share(wins[i, j], decided[i, j]) for j in place] for i in place],
        "with_ties": [
            [_share(wins[i, j] + ties[i, j] / 2, games[i, j]) for j in place] for i in place
        ],
        "battles": [[float(games[i, j]) for j in place] for i in place],
    }


def length_bias(votes: Sequence[Vote]) -> dict[str, Any] | None:
    """How often the longer answer won among decided battles with transcripts of unlike length, with
    its 95 % interval; None when there are no such battles.
    """
    decided = [
        (length(v.conversation_a) - length(v.conversation_b), v.winner)
        for v in votes
        if v.winner in ("model_a", "model_b") and v.conversation_a and v.conversation_b
    ]
    unlike = [
        (difference > 0) == (winner == "model_a") for difference, winner in decided if difference
    ]
    if not unlike:
        return None
    low, high = wilson(sum(unlike), len(unlike))
    return {
        "longer_won": sum(unlike) / len(unlike),
        "low": low,
        "high": high,
        "battles": len(unlike),
    }


def length(conversation: Sequence[dict[str, str]]) -> int:
    """Characters of all answers in a transcript."""
    return sum(len(m["content"]) for m in conversation if m["role"] == "assistant")


def rate(votes: Sequence[Vote], system: str, rounds: int, seed: int = 0) -> dict[str, Any]:
    """Everything that the page shows, from the votes in their order of time.

    Votes with the names in view do not count (as in FastChat). `busiest_judge` is the share of the
    votes that one judge cast.

    Raises:
        BadInput: an unknown system, or no anonymous vote.
    """
    if system not in SYSTEMS:
        raise BadInput(f"--system {system}: must be one of {', '.join(SYSTEMS)}")
    counted = sorted((v for v in votes if v.anony), key=lambda v: v.tstamp)
    if not counted:
        raise BadInput("no vote was cast with the names hidden, so there is nothing to rate")
    arrays, judges = ballots(counted), Counter(v.judge for v in counted)
    board = leaderboard(arrays, system, rounds, seed)
    categories = np.array([v.category for v in counted])
    return {
        "system": system,
        "rounds": rounds,
        "seed": seed,
        "votes": len(counted),
        "left_out": len(votes) - len(counted),
        "judges": len(judges),
        "busiest_judge": max(judges.values()) / len(counted),
        "leaderboard": board,
        "matrix": matrix(arrays, [row["model"] for row in board]),
        "length_bias": length_bias(counted),
        "categories": {
            str(name): _category(arrays.take(categories == name), system, rounds, seed)
            for name in np.unique(categories)
            if name
        },
    }


def _category(votes: Ballots, system: str, rounds: int, seed: int) -> dict[str, Any]:
    rated = len(votes) >= FEWEST_VOTES
    board = leaderboard(votes, system, rounds, seed) if rated else []
    return {"votes": len(votes), "leaderboard": board}
