"""Buckets one after another, late ones, budgets, ranks, and the state between."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.data.course import Course, Layout
from langraft.data.pack import Stream
from langraft.data.shards import Shard

SHARES = {"zh": 0.75, "en": 0.25}


def _shard(lengths: list[int], first: int = 0) -> Shard:
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return Shard(np.arange(first, first + offsets[-1], dtype=np.uint32), offsets)


ZH, EN = _shard([7, 12, 5] * 40), _shard([9, 4] * 60, first=10_000)


def _course(
    layout: Layout, waiting: list[str] | None = None, shares: dict[str, float] = SHARES
) -> Course:
    def bucket(number: int) -> dict[str, Stream]:
        part = (number, layout.buckets)
        return {"zh": Stream([ZH], 1, part), "en": Stream([EN], 2, part)}

    def late(name: str) -> dict[str, Stream]:
        first = 50_000 + 1_000 * int(name)
        return {"zh": Stream([_shard([30] * 8, first)], 1), "en": Stream([_shard([30] * 4)], 1)}

    names = waiting if waiting is not None else []
    return Course(shares, layout, bucket, late, lambda: names)


def _ids(course: Course, position: int) -> list[int]:
    return [int(i) for batch in course.batches(position) for i in batch.input_ids]


def test_every_bucket_has_the_whole_mix_and_its_own_documents() -> None:
    course = _course(Layout(rows=4, row_tokens=10, steps=12, buckets=3))
    course.check()
    assert course.boundaries == {4, 8}
    seen = []
    for first in (0, 4, 8):
        ids = {i for step in range(first, first + 4) for i in _ids(course, step)}
        seen.append(ids)
        assert sum(i >= 10_000 for s in range(first, first + 4) for i in _ids(course, s)) == 40
    assert not seen[0] & seen[1] and not seen[1] & seen[2] and not seen[0] & seen[2]
    assert course.achieved() == {"zh": 0.75, "en": 0.25}


def test_late_buckets_are_trained_after_the_planned_ones() -> None:
    waiting: list[str] = []
    course = _course(Layout(rows=4, row_tokens=10, steps=8, buckets=2), waiting)
    assert course.extend() == []
    waiting.append("1")
    assert course.extend() == ["1"]
    assert course.extend() == []
    assert course.steps == 8 + 8  # 240 tokens of zh at 0.75 a batch of 40
    assert course.boundaries == {4, 8}
    assert {i >= 50_000 for i in _ids(course, 8)} == {True, False}
    state = json.loads(json.dumps(course.state()))
    again = _course(Layout(rows=4, row_tokens=10, steps=8, buckets=2), waiting)
    again.load(state)
    assert again.steps == 16
    assert [_ids(again, s) for s in range(16)] == [_ids(course, s) for s in range(16)]


@given(
    world=st.sampled_from([1, 2, 4]), micro=st.sampled_from([None, 1, 2]), step=st.integers(0, 11)
)
@settings(max_examples=30, deadline=None)
def test_ranks_share_the_same_batch(world: int, micro: int | None, step: int) -> None:
    course = _course(Layout(rows=4, row_tokens=10, steps=12, buckets=3))
    whole = _ids(_course(Layout(rows=4, row_tokens=10, steps=12, buckets=3)), step)
    parts = [course.batches(step, micro, rank, world) for rank in range(world)]
    assert [int(i) for batches in parts for b in batches for i in b.input_ids] == whole
    assert len({len(batches) for batches in parts}) == 1


def test_reading_ahead_changes_nothing() -> None:
    layout = Layout(rows=4, row_tokens=10, steps=12, buckets=3)
    course = _course(layout)
    ahead = [_ids(course, step) for step in range(12)]
    jumping = _course(layout)
    assert [_ids(jumping, step) for step in reversed(range(12))] == ahead[::-1]


def test_a_change_of_shares_holds_from_the_next_step_on_and_survives_a_restart() -> None:
    layout = Layout(rows=4, row_tokens=10, steps=12)
    course = _course(layout)
    before = [_ids(course, step) for step in range(5)]
    course.change({"zh": 0.5, "en": 0.5})
    after = [_ids(course, step) for step in range(5, 12)]
    assert [sum(i >= 10_000 for i in ids) for ids in before] == [10] * 5
    assert [sum(i >= 10_000 for i in ids) for ids in after] == [20] * 7
    flat = list(itertools.chain(*before, *after))
    assert len(set(flat)) == len(flat)  # no token is read twice because the shares changed
    again = _course(layout)
    again.load(json.loads(json.dumps(course.state())))
    assert [_ids(again, step) for step in range(12)] == before + after
    assert again.achieved() == {"zh": round((15 + 14) / 48, 4), "en": round((5 + 14) / 48, 4)}


def test_a_budget_larger_than_the_data_names_what_to_set() -> None:
    layout = Layout(rows=4, row_tokens=10, steps=40)
    with pytest.raises(BadInput, match=r"'zh' would be read 1.25 times \(1,200 of 960 tokens\)"):
        _course(layout).check()
    _course(Layout(rows=4, row_tokens=10, steps=40, epochs=1.26)).check()


def test_a_part_without_documents_is_named() -> None:
    course = _course(Layout(rows=4, row_tokens=10, steps=4), shares={"zh": 0.5, "ja": 0.5})
    with pytest.raises(BadInput, match="mix: 'ja' has a share but no documents"):
        course.check()


def test_behind_the_end_the_last_bucket_goes_on() -> None:
    course = _course(Layout(rows=4, row_tokens=10, steps=4))
    assert len(_ids(course, 9)) == 40
