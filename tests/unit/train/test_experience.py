"""The pool of answers on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from langraft.core.errors import BadInput
from langraft.train.experience import BY_ANSWER, FLAT, Experience, samples_of
from langraft.train.rollouts import RolloutFeed
from langraft.train.scoring import answer_starts

MANY = 100_000


def experience(count: int, seed: int) -> Experience:
    """Answers of one to nine tokens with numbers of their own."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 10, count)
    ids = [[int(n % 60) + 1] * int(size) for n, size in enumerate(lengths)]
    samples = samples_of([[7, 8]] * count, ids)
    starts = answer_starts(samples)
    assert np.diff(starts).tolist() == lengths.tolist()
    flat = {name: generator.normal(size=starts[-1]).astype(np.float32) for name in FLAT}
    rows = {name: generator.normal(size=count).astype(np.float32) for name in BY_ANSWER}
    return Experience(samples, starts, **flat, **rows, kl=np.array(0.5 + seed))


def test_a_hundred_thousand_answers_come_back_as_they_were(tmp_path: Path) -> None:
    made = experience(MANY, 0)
    made.save(tmp_path / "000000")
    found = Experience.load(tmp_path / "000000")
    assert isinstance(found.old, np.memmap) and isinstance(found.samples.ids, np.memmap)
    numbers = [MANY - 1, 0, 51_234, 3]
    batch, wanted = found.batch(numbers), made.batch(numbers)
    for name in ("input_ids", "labels", "boundaries", *FLAT, *BY_ANSWER):
        assert np.array_equal(getattr(batch, name), getattr(wanted, name)), name
    first = int(made.starts[MANY - 1])
    assert batch.old[0] == made.old[first] and batch.rewards[2] == made.rewards[51_234]


def test_a_feed_goes_on_in_the_middle_of_a_round(tmp_path: Path) -> None:
    collected: list[tuple[int, float]] = []

    def collect(number: int, kl: float) -> Experience:
        collected.append((number, kl))
        return experience(64, number)

    def feed() -> RolloutFeed:
        return RolloutFeed(collect, tmp_path, iterations=3, passes=2, minibatches=2, kl=0.1, seed=3)

    first = feed()
    assert first.steps == 12
    straight = [first.batches(n, 8) for n in range(12)]
    assert collected == [(0, 0.1), (1, 0.5), (2, 1.5)]  # each round's coefficient is the last one's
    resumed = feed()
    resumed.load({"kl": 0.5})
    again = resumed.batches(6, 8)
    assert len(collected) == 3, "a round that lies in the pool is collected again"
    assert resumed.state() == {"kl": 1.5}
    for one, other in zip(straight[6], again, strict=True):
        assert np.array_equal(one.input_ids, other.input_ids) and np.array_equal(one.old, other.old)
    seen = np.concatenate([b.rewards for n in (4, 5) for b in straight[n]])
    assert sorted(seen) == sorted(experience(64, 1).rewards)


def test_ranks_share_a_minibatch(tmp_path: Path) -> None:
    feed = RolloutFeed(
        lambda number, kl: experience(64, number),
        tmp_path,
        iterations=1,
        passes=1,
        minibatches=2,
        kl=0.1,
        seed=3,
    )
    whole = np.concatenate([b.rewards for b in feed.batches(1)])
    halves = [np.concatenate([b.rewards for b in feed.batches(1, 4, r, 2)]) for r in (0, 1)]
    assert np.array_equal(np.concatenate(halves), whole)
    with pytest.raises(BadInput, match=r"64 answers a round do not divide into 2 .* among 3 ranks"):
        feed.batches(0, None, 0, 3)
