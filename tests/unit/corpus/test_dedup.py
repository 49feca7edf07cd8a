"""Keys blind to layout; MinHash that finds what it should; clusters that depend on no order."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.dedup import (
    LARGEST_BUCKET,
    band_pairs,
    best_members,
    clusters,
    first_copies,
    rehydration,
    roots,
)
from langraft.corpus.kernels.sign import document_keys, signatures
from langraft.corpus.kernels.texts import Texts


def document_key(text: str) -> bytes:
    return document_keys(Texts.of(["x", text, "y"]))[1]


def test_the_key_is_blake2b_of_the_text_without_white_space() -> None:
    expected = hashlib.blake2b("床前明月光，疑是地上霜。".encode(), digest_size=16).digest()
    assert document_key("床前明月光，\n\n  疑是地\u3000上霜。\t") == expected
    assert len(expected) * 8 == 128


@given(st.text("ab中 \n", max_size=8), st.text("ab中 \n", max_size=8))
def test_equal_keys_mean_equal_texts_but_for_layout(one: str, two: str) -> None:
    same = "".join(one.split()) == "".join(two.split())
    assert (document_key(one) == document_key(two)) == same


@given(st.text())
def test_the_key_agrees_with_python_on_any_text(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    expected = hashlib.blake2b("".join(text.split()).encode(), digest_size=16).digest()
    assert document_key(text) == expected


@given(st.lists(st.integers(0, 5), max_size=12))
def test_the_first_of_equal_keys_stays(values: list[int]) -> None:
    keys = np.array([(v % 2, v) for v in values], np.uint64).reshape(-1, 2)
    expected = [values.index(value) == place for place, value in enumerate(values)]
    assert first_copies(keys).tolist() == expected


def varied(text: str, changes: int, seed: int) -> str:
    draw = random.Random(seed)
    letters = list(text)
    for _ in range(changes):
        letters[draw.randrange(len(letters))] = chr(draw.randrange(0x4E00, 0x9FA5))
    return "".join(letters)


def jaccard(one: str, two: str, n: int = 5) -> float:
    a, b = ({text[i : i + n] for i in range(len(text) - n + 1)} for text in (one, two))
    return len(a & b) / len(a | b)


def drawn(seed: int, size: int = 300) -> str:
    draw = random.Random(seed)
    return "".join(chr(draw.randrange(0x4E00, 0x9FA5)) for _ in range(size))


def test_the_agreement_estimates_the_jaccard_similarity() -> None:
    """Standard error at 112 hashes: sqrt(J (1 - J) / 112) < 0.048."""
    errors = []
    for seed in range(60):
        one = drawn(seed)
        two = varied(one, seed % 20, seed)
        found = signatures(Texts.of([one, two]), 14, 8, 5).agreement
        errors.append(float((found[0] == found[1]).mean()) - jaccard(one, two))
    assert abs(np.mean(errors)) < 0.02
    assert np.sqrt(np.mean(np.square(errors))) < 0.05


def survivors(texts: list[str], similarity: float = 0.7) -> set[str]:
    packed = Texts.of(texts)
    signed = signatures(packed, 14, 8, 5)
    rank = np.argsort(np.argsort(document_keys(packed)))
    found = [
        band_pairs(signed.bands[:, band], rank, signed.agreement, similarity) for band in range(14)
    ]
    joined = clusters(found, len(texts))
    best = best_members(joined.root, packed.sizes.astype(float), rank)
    return {texts[place] for place in np.flatnonzero(best)}


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    originals = [drawn(seed) for seed in range(300)]
    close = [varied(text, 1, seed) for seed, text in enumerate(originals)]  # J about 0.97
    near = [varied(text, 4, seed + 999) for seed, text in enumerate(originals)]  # about 0.88
    far = [varied(text, 60, seed + 99) for seed, text in enumerate(originals)]  # about 0.2
    kept = survivors(originals + close)
    assert len(kept) == 300  # every pair found
    pairs = [jaccard(a, b) for a, b in zip(originals, near, strict=True)]
    assert 0.8 < np.mean(pairs) < 0.95
    assert len(survivors(originals + near)) <= 300 + 6  # at least 98 %
    assert len(survivors(originals + far)) == 600


@given(st.permutations(list(range(30))))
def test_the_order_of_documents_does_not_matter(order: list[int]) -> None:
    texts = [varied(drawn(n % 10, 60), n // 10, n) for n in range(30)]
    kept = survivors(texts)
    assert survivors([texts[n] for n in order]) == kept
    for family in range(10):  # at least one of every cluster stays
        assert any(texts[family + 10 * copy] in kept for copy in range(3))


def test_english_is_compared_by_words_in_any_case() -> None:
    words = [f"word{n}" for n in range(80)]
    one, two = " ".join(words), " ".join(words).upper().replace(" ", ",  ")
    assert len(survivors([one, two])) == 1
    assert len(survivors([one, " ".join(reversed(words))])) == 2


def test_short_and_empty_texts() -> None:
    found = signatures(Texts.of(["", "，。", "短", "短", "短文"]), 14, 8, 5)
    assert found.shingles.tolist() == [0, 0, 1, 1, 1]
    assert (found.bands[2] == found.bands[3]).all() and (found.bands[2] != found.bands[4]).any()


def test_a_shared_band_alone_joins_nothing() -> None:
    rng = np.random.default_rng(0)
    agreement = rng.integers(0, 60_000, (4, 112)).astype(np.uint16)
    agreement[3] = agreement[1]
    pairs, compared, giant = band_pairs(
        np.array([7, 7, 7, 7], np.uint64), np.arange(4), agreement, 0.7
    )
    assert pairs.tolist() == [[1, 3]] and compared == 3 + 2 + 1 and giant == []


def test_one_that_is_like_the_first_is_still_compared_with_the_rest() -> None:
    agreement = np.zeros((3, 100), np.uint16)
    agreement[1, :25], agreement[2, :50] = 1, 1  # 75 % of each and the next, 50 % of first and last
    pairs, _, _ = band_pairs(np.zeros(3, np.uint64), np.arange(3), agreement, 0.7)
    assert pairs.tolist() == [[0, 1], [1, 2]]


def test_giant_buckets_are_compared_once_and_reported() -> None:
    size = LARGEST_BUCKET + 1
    agreement = np.zeros((size, 8), np.uint16)
    agreement[size // 2 :] = 1
    pairs, compared, giant = band_pairs(np.zeros(size, np.uint64), np.arange(size), agreement, 0.7)
    assert giant == [size] and compared == size - 1
    assert len(pairs) == size // 2 - 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_roots_are_the_smallest_of_each_component(pairs: list[tuple[int, int]]) -> None:
    found = roots(np.array(pairs, np.int64).reshape(-1, 2), 10)
    expected = list(range(10))
    for _ in range(10):
        for one, two in pairs:
            expected[one] = expected[two] = min(expected[one], expected[two])
    assert found.tolist() == expected


def test_the_best_member_stays_and_ties_go_to_the_lowest_rank() -> None:
    root = np.array([0, 0, 0, 3, 3])
    quality = np.array([1.0, 2.0, 2.0, 5.0, 5.0])
    rank = np.array([0, 4, 2, 3, 1])
    assert best_members(root, quality, rank).tolist() == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("size", "times"),
    [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (99, 5), (100, 8), (999, 8), (1000, 1)],
)
def test_rehydration_as_fineweb_2_has_it(size: int, times: int) -> None:
    assert rehydration(np.array([size])).tolist() == [times]
