"""Exact shares: every running total within a row, at any row, however the shares change."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from langraft.data.turns import Mix, Turns, diffuse


def test_diffuse_by_hand() -> None:
    assert diffuse([0.75, 0.25], 2, 4).tolist() == [[2, 0], [1, 1], [2, 0], [1, 1]]


def test_diffuse_of_the_quickstart_shares() -> None:
    counts = diffuse([0.85, 0.15], 2, 60)
    assert counts.sum(axis=0).tolist() == [102, 18]


def test_six_languages_where_owing_most_would_overfill_a_step() -> None:
    """The row that is owed most, step by step, made a step of five rows out of this."""
    shares = [0.01835247, 0.15636555, 0.00351059, 0.36550733, 0.00318554, 0.45307854]
    counts = diffuse(shares, 4, 40)
    assert (counts.sum(axis=1) == 4).all()
    wanted = np.arange(1, 41)[:, None] * 4 * np.array(shares) / sum(shares)
    assert np.abs(counts.cumsum(axis=0) - wanted).max() <= 1 - 1 / 10 + 1e-6


@given(
    weights=st.lists(st.integers(0, 1_000), min_size=1, max_size=6).filter(any),
    rows=st.integers(1, 40),
    steps=st.integers(1, 60),
)
@settings(max_examples=100, deadline=None)
def test_diffuse_keeps_every_running_total_within_a_row(
    weights: list[int], rows: int, steps: int
) -> None:
    shares = np.array(weights) / sum(weights)
    counts = diffuse(list(shares), rows, steps)
    assert counts.shape == (steps, len(weights))
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == rows).all()
    wanted = np.arange(1, steps + 1)[:, None] * rows * shares
    assert np.abs(counts.cumsum(axis=0) - wanted).max() < 1 + 1e-6


def test_turns_repeat_after_their_period() -> None:
    turns = Turns([0.85, 0.15])
    assert (turns.weights, turns.period) == ([17, 3], 20)
    straight = diffuse([0.85, 0.15], 1, 100).cumsum(axis=0)
    far = 10_000_000_000
    for row in range(1, 60):
        assert (turns.before(row) == straight[row - 1]).all()
        assert (
            turns.before(far + row) == turns.before(row) + np.array([17, 3]) * (far // 20)
        ).all()


def test_thirds_are_taken_to_six_decimals() -> None:
    assert Turns([1 / 3, 1 / 3, 1 / 3]).weights == [333_334, 333_333, 333_333]
    assert Turns([1.0]).weights == [1]


def test_a_mix_gives_rows_in_order_and_keeps_exact_shares_after_a_change() -> None:
    mix = Mix({"zh": 0.75, "en": 0.25, "ja": 0.0}, rows=4)
    assert mix.parts == ["zh", "en"]
    assert mix.places(3) == [(0, 9), (0, 10), (0, 11), (1, 3)]
    mix.change(10, {"zh": 0.5, "en": 0.5})
    assert mix.before(10).tolist() == [30, 10]
    assert mix.before(20).tolist() == [50, 30]
    assert mix.places(10) == [(0, 30), (0, 31), (1, 10), (1, 11)]
    assert mix.places(3) == [(0, 9), (0, 10), (0, 11), (1, 3)]
