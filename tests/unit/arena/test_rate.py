from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.arena.elo import bootstrap_elo, elo
from langraft.arena.rate import length_bias, rate, wilson
from langraft.arena.strength import cells, resampled, strengths, undecided
from langraft.arena.votes import Ballots, Vote, ballots, read_votes
from langraft.core.errors import BadInput


def votes_of(*battles: tuple[str, str, str]) -> list[Vote]:
    return [Vote(a, b, winner, tstamp=i) for i, (a, b, winner) in enumerate(battles)]


@pytest.fixture(scope="module")
def golden(root: Path) -> tuple[Ballots, dict[str, dict[str, float]]]:
    """1,500 simulated votes, and FastChat's numbers for them."""
    votes = read_votes(root / "tests/golden/arena_votes.jsonl")
    return ballots(votes), json.loads((root / "tests/golden/arena_fastchat.json").read_text())


def test_elo_by_hand() -> None:
    # First battle: both expected 0.5, so 4 * 0.5. Second, a tie between 1002 and 998.
    first = 1000 + 4 * 0.5
    expected = 1 / (1 + 10 ** ((998 - 1002) / 400))
    second = first + 4 * (0.5 - expected)
    found = elo(ballots(votes_of(("x", "y", "model_a"), ("x", "y", "tie (bothbad)"))))
    assert found == pytest.approx([second, 2000 - second], abs=1e-9)


def test_elo_equals_fastchat(golden: tuple[Ballots, dict[str, dict[str, float]]]) -> None:
    votes, theirs = golden
    for name, rating in zip(votes.models, elo(votes), strict=True):
        assert rating == pytest.approx(theirs["elo"][name], abs=1e-6)


def test_elo_bootstrap_is_repeatable_and_near_a_plain_one() -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(0, 4, 400).astype(np.int32)
    b = ((a + rng.integers(1, 4, 400)) % 4).astype(np.int32)
    votes = Ballots(tuple("wxyz"), a, b, rng.integers(0, 3, 400).astype(np.int8))
    found = bootstrap_elo(votes, 500, seed=1)
    assert found.shape == (500, 4)
    assert np.array_equal(found, bootstrap_elo(votes, 500, seed=1))
    assert not np.array_equal(found, bootstrap_elo(votes, 500, seed=2))
    drawn = rng.integers(0, 400, (500, 400))
    plain = np.array([elo(Ballots(votes.models, a[i], b[i], votes.outcome[i])) for i in drawn])
    # Means of 500 resamples whose spread is about 25 points.
    assert np.abs(found.mean(0) - plain.mean(0)).max() < 6
    assert found.std(0) == pytest.approx(plain.std(0), rel=0.15)
    assert np.allclose(found.sum(1), 4000)


def test_bradley_terry_equals_fastchat_with_its_intervals_and_ranks(
    golden: tuple[Ballots, dict[str, dict[str, float]]], root: Path
) -> None:
    _, theirs = golden
    found = rate(read_votes(root / "tests/golden/arena_votes.jsonl"), "bradley-terry", 100)
    for row in found["leaderboard"]:
        name = row["model"]
        assert row["rating"] == pytest.approx(theirs["bt"][name], abs=0.05)
        assert row["low"] == pytest.approx(theirs["bt_low"][name], abs=0.05)
        assert row["high"] == pytest.approx(theirs["bt_high"][name], abs=0.05)
        assert row["rank"] == theirs["rank"][name]
    names = [row["model"] for row in found["leaderboard"]]
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if i != j:
                share = found["matrix"]["without_ties"][i][j]
                assert share == pytest.approx(theirs["win_fraction"][one][other])


def test_two_models_by_hand() -> None:
    # 3 wins, 1 loss, 2 ties: odds of 4 to 2 when a tie is half, of 3 to 1 when it is its own thing.
    wins = [("x", "y", "model_a")] * 3 + [("y", "x", "model_a")] + [("x", "y", "tie")] * 2
    found = cells(ballots(votes_of(*wins)))
    half = strengths(found, found.counts[None], "half")[0]
    own = strengths(found, found.counts[None], "davidson")[0]
    assert half[0] - half[1] == pytest.approx(400 * math.log10(4 / 2), abs=0.01)
    assert own[0] - own[1] == pytest.approx(400 * math.log10(3 / 1), abs=0.01)
    assert half.mean() == pytest.approx(1000) and own.mean() == pytest.approx(1000)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 2)), min_size=1))
def test_every_vote_file_has_finite_ratings(battles: list[tuple[int, int, int]]) -> None:
    a = np.array([one for one, _, _ in battles], np.int32)
    b = np.array([(one + step) % 5 for one, step, _ in battles], np.int32)
    outcome = np.array([o for _, _, o in battles], np.int8)
    found = cells(Ballots(tuple("vwxyz"), a, b, outcome))
    for ties in ("half", "davidson"):
        ratings = strengths(found, found.counts[None], ties)[0]
        assert np.isfinite(ratings).all() and abs(ratings.mean() - 1000) < 1e-6
        # The same votes told from the other side give the same ratings.
        turned = cells(Ballots(tuple("vwxyz"), b, a, (2 - outcome).astype(np.int8)))
        assert strengths(turned, turned.counts[None], ties)[0] == pytest.approx(ratings, abs=1e-3)


def test_a_model_that_never_lost_is_marked_open() -> None:
    votes = votes_of(
        *[("best", "x", "model_a")] * 5,
        ("x", "y", "model_a"),
        ("y", "x", "model_a"),
        ("y", "x", "tie"),
    )
    assert undecided(cells(ballots(votes))) == [0]
    board = rate(votes, "bradley-terry", 20)["leaderboard"]
    assert [row["model"] for row in board if row["open"]] == ["best"]
    assert board[0]["model"] == "best"


def coverage(ties: str, v: float, trials: int) -> float:
    """The share of true strengths inside their 95 % intervals over simulated arenas."""
    rng = np.random.default_rng(11)
    truth = np.array([0.9, 0.3, -0.2, -1.0])
    inside = []
    for trial in range(trials):
        a = rng.integers(0, 4, 600).astype(np.int32)
        b = ((a + rng.integers(1, 4, 600)) % 4).astype(np.int32)
        half = (truth[a] - truth[b]) / 2
        total = np.exp(half) + np.exp(-half) + v
        u = rng.random(600) * total
        outcome = np.where(u < np.exp(half), 2, np.where(u < total - v, 0, 1)).astype(np.int8)
        found = cells(Ballots(tuple("abcd"), a, b, outcome))
        drawn = strengths(found, resampled(found, 200, trial), ties)
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        true = 1000 + 400 / math.log(10) * truth
        inside.append((low <= true) & (true <= high))
    return float(np.mean(inside))


@pytest.mark.parametrize(("ties", "v"), [("half", 0.0), ("davidson", 0.8)])
def test_intervals_cover_the_truth(ties: str, v: float) -> None:
    assert 0.92 <= coverage(ties, v, 150) <= 0.97


@pytest.mark.parametrize("ties", ["half", "davidson"])
@pytest.mark.parametrize("votes", [15, 600])
def test_many_resamples_at_once_equal_each_alone(ties: str, votes: int) -> None:
    rng = np.random.default_rng(5)
    a = rng.integers(0, 5, votes).astype(np.int32)
    b = ((a + rng.integers(1, 5, votes)) % 5).astype(np.int32)
    found = cells(Ballots(tuple("abcde"), a, b, rng.integers(0, 3, votes).astype(np.int8)))
    drawn = resampled(found, 40, 0)
    alone = np.concatenate([strengths(found, one[None], ties) for one in drawn])
    # Together they climb with a curvature that they share; alone each solves its own.
    assert np.abs(strengths(found, drawn, ties) - alone).max() < 1e-5


def test_half_a_win_for_a_tie_understates_differences() -> None:
    assert coverage("half", 2.0, 30) < 0.8


def test_length_bias_and_its_interval() -> None:
    def talk(size: int) -> tuple[dict[str, str], ...]:
        return ({"role": "user", "content": "?" * 99}, {"role": "assistant", "content": "x" * size})

    votes = [Vote("x", "y", "model_a", conversation_a=talk(9), conversation_b=talk(5))] * 8
    votes += [Vote("x", "y", "model_b", conversation_a=talk(9), conversation_b=talk(5))] * 2
    votes += [Vote("x", "y", "tie", conversation_a=talk(9), conversation_b=talk(5))] * 5
    bias = length_bias(votes)
    assert bias is not None
    assert (bias["longer_won"], bias["battles"]) == (0.8, 10)
    # Wilson for 8 of 10, worked by hand.
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert length_bias(votes_of(("x", "y", "model_a"))) is None


def test_votes_with_names_in_view_do_not_count() -> None:
    votes = votes_of(*[("x", "y", "model_a")] * 3)
    seen = [Vote("x", "y", "model_b", anony=False)] * 9
    found = rate([*votes, *seen], "elo", 10)
    assert (found["votes"], found["left_out"]) == (3, 9)
    assert (found["judges"], found["busiest_judge"]) == (1, 1.0)
    with pytest.raises(BadInput, match="nothing to rate"):
        rate(seen, "elo", 10)
    with pytest.raises(BadInput, match="--system glicko"):
        rate(votes, "glicko", 10)


def test_categories_are_rated_apart_once_they_have_votes() -> None:
    many = [Vote("x", "y", "model_a", category="writing")] * 25
    many += [Vote("x", "y", "model_b", category="writing")] * 5
    found = rate([*many, Vote("x", "y", "model_b", category="maths")], "bradley-terry", 10)
    writing = found["categories"]["writing"]
    assert writing["votes"] == 30 and writing["leaderboard"][0]["model"] == "x"
    assert found["categories"]["maths"] == {"votes": 1, "leaderboard": []}
