"""Packing of whole samples, and the feed over phases and epochs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_llama import CPU, random_llama

from langraft.core.errors import BadInput
from langraft.data.encode import Encoded
from langraft.data.pack import IGNORE
from langraft.data.samples import Phase, SampleFeed, Samples, batch_of, lay, pack
from langraft.train import attention
from langraft.train.objectives import next_token_loss


def samples_of(lengths: list[int], seed: int = 0) -> Samples:
    generator = np.random.default_rng(seed)
    return lay(
        [
            Encoded(generator.integers(1, 60, n), np.arange(n) >= generator.integers(0, n))
            for n in lengths
        ]
    )


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_no_sample_is_cut_lost_or_doubled(lengths: list[int], seed: int) -> None:
    sizes = np.array(lengths)
    order = np.random.default_rng(seed).permutation(len(lengths))
    rows = pack(sizes, order, 30)
    assert sorted(n for row in rows for n in row) == list(range(len(lengths)))
    assert all(sizes[row].sum() <= 30 for row in rows)
    half = sum(sizes[row].sum() <= 15 for row in rows)
    assert half <= 1, "two rows that are half empty would fit into one"


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 20), min_size=3, max_size=30),
    rows=st.integers(1, 4),
    epochs=st.integers(1, 3),
)
def test_every_sample_is_learnt_once_an_epoch(lengths: list[int], rows: int, epochs: int) -> None:
    samples = samples_of(lengths)
    feed = SampleFeed(
        samples,
        [Phase("all", np.arange(len(lengths)), epochs)],
        rows=rows,
        row_tokens=20,
        seed=3,
    )
    seen: Counter[bytes] = Counter()
    for step in range(feed.steps):
        for batch in feed.batches(step):
            for a, b in zip(batch.boundaries, batch.boundaries[1:], strict=False):
                seen[batch.input_ids[a:b].tobytes()] += 1
    wanted = Counter(samples[n].ids.astype(np.int64).tobytes() for n in range(len(lengths)))
    for key, count in wanted.items():
        assert seen[key] >= epochs * count
    assert sum(seen.values()) < epochs * len(lengths) + rows * 20


def test_phases_follow_one_another() -> None:
    samples = samples_of([5] * 12)
    easy, hard = np.arange(8), np.arange(8, 12)
    feed = SampleFeed(
        samples, [Phase("easy", easy), Phase("hard", hard, 2)], rows=2, row_tokens=10, seed=1
    )
    assert (feed.steps, feed.boundaries) == (4, frozenset({2}))
    parts = [set(feed.batches(step)[0].part_of.tolist()) for step in range(4)]
    assert parts == [{0}, {0}, {1}, {1}]
    assert feed.achieved() == {"easy": 0.5, "hard": 0.5}


def test_ranks_and_micro_batches_share_the_rows() -> None:
    feed = SampleFeed(
        samples_of([4, 9, 7, 3, 8, 6, 5, 9]),
        [Phase("all", np.arange(8))],
        rows=4,
        row_tokens=9,
        seed=2,
    )
    whole = feed.batches(0)[0].input_ids.tolist()
    parts = [b.input_ids.tolist() for rank in range(2) for b in feed.batches(0, 1, rank, 2)]
    assert sum(parts, []) == whole and len(parts) == 4  # noqa: RUF017
    with pytest.raises(BadInput, match="4 rows does not divide among 3 ranks"):
        feed.batches(0, None, 0, 3)


def test_labels_are_learnt_tokens_only() -> None:
    a = Encoded(np.array([5, 6, 7, 8]), np.array([False, False, True, True]))
    b = Encoded(np.array([9, 10]), np.array([False, True]))
    batch = batch_of([a, b])
    assert batch.labels.tolist() == [IGNORE, 7, 8, IGNORE, 10, IGNORE]
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 0, 1]
    assert batch.boundaries.tolist() == [0, 4, 6] and batch.counted == 3


def test_packed_samples_do_not_see_one_another() -> None:
    model = random_llama()
    model.set_attn_implementation(attention.register())
    samples = samples_of([9, 5, 12, 7], seed=4)
    with torch.no_grad():
        whole = next_token_loss(model, batch_of([samples[n] for n in range(4)]), CPU).item()
        apart = [next_token_loss(model, batch_of([samples[n]]), CPU).item() for n in range(4)]
    assert whole == pytest.approx(sum(apart), abs=1e-4)


def test_empty_phase_and_long_sample() -> None:
    with pytest.raises(BadInput, match="none: there is no sample"):
        SampleFeed(
            samples_of([3]), [Phase("none", np.array([], np.int64))], rows=1, row_tokens=9, seed=1
        )
    with pytest.raises(BadInput, match="a sample of 12 tokens is longer"):
        SampleFeed(samples_of([12]), [Phase("a", np.array([0]))], rows=1, row_tokens=9, seed=1)
