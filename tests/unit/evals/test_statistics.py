"""Intervals and tests against figures known from elsewhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.evals.statistics import macro, mcnemar, micro, paired, wilson


def test_wilsons_interval_as_printed_in_textbooks() -> None:
    found = wilson(8, 10)
    assert (found.value, found.count) == (0.8, 10)
    assert (found.low, found.high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )
    assert (wilson(0, 10).low, wilson(0, 10).high) == (0.0, pytest.approx(0.2775, abs=1e-4))
    with pytest.raises(ValueError, match="without a question"):
        wilson(0, 0)


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_holds_the_share_and_stays_inside(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    found = wilson(right, count)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_micro_counts_questions_and_macro_subjects() -> None:
    groups = {"large": [1.0] * 90, "small": [0.0] * 10}
    assert micro([v for values in groups.values() for v in values]).value == 0.9
    assert macro(groups).value == 0.5
    with pytest.raises(ValueError, match="without a question"):
        macro({"none": []})


def test_a_bootstrap_is_as_wide_as_the_normal_theory_says() -> None:
    values = [0.25, 0.5, 0.75, 1.0] * 100
    found = micro(values)
    deviation = math.sqrt(sum((v - 0.625) ** 2 for v in values) / 400)
    assert found.value == 0.625
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation / 20, rel=0.1)
    assert found == micro(values)


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [
        (9, 1, 0.021484375),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (10, 0, 2 / 1024),
        (15, 5, 0.04138946533203125),
    ],
)
def test_mcnemars_exact_test(better: int, worse: int, p: float) -> None:
    assert mcnemar(better, worse) == pytest.approx(p, rel=1e-9)
    assert mcnemar(worse, better) == mcnemar(better, worse)


def test_pairs_see_what_two_intervals_do_not() -> None:
    first = [1.0] * 50 + [0.0] * 50
    second = [1.0] * 50 + [1.0] * 9 + [0.0] * 41
    found = paired(first, second)
    assert found.value == pytest.approx(0.09)
    assert (found.better, found.worse, found.count) == (9, 0, 100)
    assert found.p == pytest.approx(2 / 2**9)
    assert 0 < found.low < 0.09 < found.high
    assert wilson(50, 100).high > wilson(59, 100).low


def test_shares_are_compared_by_flips_of_sign() -> None:
    first = [0.1 * (n % 5) for n in range(60)]
    assert paired(first, first).p == 1.0
    assert paired(first, [v + 0.2 for v in first]).p < 0.001
    with pytest.raises(ValueError, match="cannot be paired"):
        paired([1.0], [])
