"""The hold-out: enough, never too much, and the same whatever the order of the documents."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.holdout import hold_out

KEYS = st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1))
SIZES = st.dictionaries(KEYS, st.integers(1, 100), max_size=40)


def held(documents: list[tuple[tuple[int, int], int]], wanted: int) -> list[tuple[int, int]]:
    """The keys of those that are set aside, one for each document."""
    keys = np.array([key for key, _ in documents], np.uint64).reshape(-1, 2)
    sizes = np.array([size for _, size in documents], np.int64)
    chosen = hold_out(keys, sizes, wanted)
    return [key for (key, _), taken in zip(documents, chosen.tolist(), strict=True) if taken]


def test_documents_are_taken_in_key_order_until_the_bytes_are_reached() -> None:
    documents = [((n // 10, n % 10), 10) for n in range(100)]
    assert held(documents, 25) == [(0, 0), (0, 1), (0, 2)]
    assert held(documents, 30) == [(0, 0), (0, 1), (0, 2)]


def test_a_document_too_large_for_the_quarter_is_passed_over() -> None:
    documents = [((0, 1), 900), ((0, 2), 100), ((0, 3), 200), ((0, 4), 800)]  # a quarter is 500
    assert held(documents, 250) == [(0, 2), (0, 3)]
    assert held(documents, 5_000) == [(0, 2), (0, 3)]


def test_nothing_fits_when_every_document_is_more_than_a_quarter() -> None:
    assert held([((0, 1), 10), ((0, 2), 10), ((0, 3), 10)], 5) == []
    assert held([], 5) == []


def test_copies_count_together() -> None:
    twice = [((0, 1), 10), ((0, 2), 10), ((0, 1), 10)]
    assert held([*twice, ((0, 3), 20), ((0, 4), 20)], 10) == [(0, 2)]  # a quarter is 17
    assert held([*twice, ((0, 3), 200)], 15) == [(0, 1), (0, 1)]


@given(SIZES, st.integers(1, 500), st.integers())
def test_order_does_not_matter_and_a_quarter_is_the_limit(
    sizes: dict[tuple[int, int], int], wanted: int, seed: int
) -> None:
    documents = list(sizes.items())
    chosen = set(held(documents, wanted))
    random.Random(seed).shuffle(documents)
    assert set(held(documents, wanted)) == chosen
    total = sum(sizes[key] for key in chosen)
    assert total * 4 <= sum(sizes.values())
    assert total < wanted + max([*sizes.values(), 1])
