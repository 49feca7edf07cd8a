"""The hold-out: enough, never too much, and the same whatever the order of the documents."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.holdout import hold_out

SIZES = st.dictionaries(st.binary(min_size=1, max_size=4), st.integers(1, 100), max_size=40)


def test_documents_are_taken_in_key_order_until_the_bytes_are_reached() -> None:
    documents = [(bytes([n]), 10) for n in range(100)]
    assert hold_out(documents, 25) == {b"\x00", b"\x01", b"\x02"}
    assert hold_out(documents, 30) == {b"\x00", b"\x01", b"\x02"}


def test_a_document_too_large_for_the_quarter_is_passed_over() -> None:
    documents = [(b"a", 900), (b"b", 100), (b"c", 200), (b"d", 800)]  # a quarter is 500
    assert hold_out(documents, 250) == {b"b", b"c"}
    assert hold_out(documents, 5_000) == {b"b", b"c"}


def test_nothing_fits_when_every_document_is_more_than_a_quarter() -> None:
    assert hold_out([(b"a", 10), (b"b", 10), (b"c", 10)], 5) == set()
    assert hold_out([], 5) == set()


def test_copies_count_together() -> None:
    documents = [(b"a", 10), (b"a", 10), (b"b", 10), (b"c", 20), (b"d", 20)]  # a quarter is 17
    assert hold_out(documents, 10) == {b"b"}


@given(SIZES, st.integers(1, 500), st.integers())
def test_order_does_not_matter_and_a_quarter_is_the_limit(
    sizes: dict[bytes, int], wanted: int, seed: int
) -> None:
    documents = list(sizes.items())
    chosen = hold_out(documents, wanted)
    random.Random(seed).shuffle(documents)
    assert hold_out(documents, wanted) == chosen
    held = sum(sizes[key] for key in chosen)
    assert held * 4 <= sum(sizes.values())
    assert held < wanted + max([*sizes.values(), 1])
