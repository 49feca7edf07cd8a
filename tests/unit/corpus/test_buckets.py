"""Equal bins, balanced in kind and length; shares of tokens met with as much text as possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.buckets import bins, shares_met, spread, taken

SIZES = st.lists(st.integers(1, 10_000), min_size=1, max_size=200)


@given(SIZES, st.integers(1, 12))
def test_bins_have_as_many_documents_to_one(sizes: list[int], count: int) -> None:
    n = len(sizes)
    found = bins(np.array(sizes), np.zeros(n, np.int64), np.arange(n), count)
    many = np.bincount(found, minlength=count)
    assert many.sum() == n and many.max() - many.min() <= 1


def test_bins_have_the_lengths_and_kinds_of_the_whole() -> None:
    draw = np.random.default_rng(3)
    sizes = (draw.pareto(1.5, 5_000) * 1_000 + 100).astype(np.int64)
    kinds = draw.integers(0, 4, 5_000)
    found = bins(sizes, kinds, np.arange(5_000), 10)
    for kind in range(4):
        many = np.bincount(found[kinds == kind], minlength=10)
        assert many.max() - many.min() <= 2
    usual = sizes < np.quantile(sizes, 0.99)  # one giant more or less is no fault
    held = np.bincount(found[usual], sizes[usual], 10)
    assert held.max() / held.min() < 1.1
    held = np.bincount(found, sizes, 10)
    assert held.max() / held.min() < 1.1  # a bin with a giant gets the smaller of the others
    medians = [np.median(sizes[found == number]) for number in range(10)]
    assert max(medians) / min(medians) < 1.15


def test_the_bin_depends_on_the_document_not_on_its_place() -> None:
    draw = np.random.default_rng(0)
    sizes, rank = draw.integers(1, 50, 300), draw.permutation(300)
    turn = draw.permutation(300)
    kinds = np.zeros(300, np.int64)
    assert (bins(sizes, kinds, rank, 7)[turn] == bins(sizes[turn], kinds, rank[turn], 7)).all()


@given(
    st.lists(st.floats(1, 1e9), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
)
def test_planned_shares_are_met_by_cutting_as_little_as_possible(
    amounts: list[float], shares: list[float]
) -> None:
    tokens = dict(zip("abc", amounts, strict=True))
    found = shares_met(tokens, {"a": shares[0], "b": shares[1]})
    assert found["c"] == tokens["c"]  # no share planned: taken whole
    assert found["a"] / found["b"] == pytest.approx(shares[0] / shares[1])
    assert all(found[name] <= tokens[name] * (1 + 1e-9) for name in "ab")
    assert any(found[name] == pytest.approx(tokens[name]) for name in "ab")


def test_a_part_is_taken_evenly_from_every_bin() -> None:
    sizes, number = np.full(1_000, 10), np.arange(1_000) % 4
    kept = taken(sizes, number, np.arange(1_000), 0.3)
    assert [int(kept[number == n].sum()) for n in range(4)] == [75] * 4
    assert taken(sizes, number, np.arange(1_000), 1.0).all()
    assert not taken(sizes, number, np.arange(1_000), 0.0).any()


@given(SIZES, st.integers(1, 100_000))
def test_a_sample_is_spread_over_all(sizes: list[int], wanted: int) -> None:
    chosen = spread(sizes, wanted)
    assert chosen == sorted(set(chosen)) and all(0 <= n < len(sizes) for n in chosen)
    assert sum(sizes) > wanted or len(chosen) == len(sizes)
