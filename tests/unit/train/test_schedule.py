"""Schedules by hand, and against transformers' own."""

from __future__ import annotations

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from langraft.train.loop import Loop
from langraft.train.schedule import SCHEDULES, constant, cosine, linear


def test_cosine_as_colossal() -> None:
    found = [cosine(step, 10, 0.2, 0.0, 0.1) for step in range(10)]
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[6] == pytest.approx(0.55)
    assert 0.1 < found[9] < 0.15


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(cosine, get_cosine_schedule_with_warmup), (linear, get_linear_schedule_with_warmup)],
)
def test_after_the_warm_up_as_transformers(ours: object, theirs: object) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = theirs(optimiser, 4, 20)  # type: ignore[operator]
    wanted = []
    for _ in range(20):
        wanted.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    found = [ours(step, 20, 0.2, 0.0, 0.0) for step in range(20)]  # type: ignore[operator]
    assert found[4:] == pytest.approx(wanted[4:])
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])  # theirs starts at 0


def test_constant() -> None:
    assert [constant(step, 4, 0.5, 0.0) for step in range(4)] == [0.5, 1, 1, 1]


def test_a_bucket_may_warm_up_again() -> None:
    options = {"warmup": 0.5, "decay": 0.0, "clip": 1.0, "boundaries": frozenset({4})}
    once = Loop("x", 8, **options)  # type: ignore[arg-type]
    again = Loop("x", 8, **options, rewarm=True)  # type: ignore[arg-type]
    assert [once.share(step) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert [again.share(step) for step in range(8)] == [0.5, 1, 1, 1] * 2


def test_every_schedule_ends_at_its_floor() -> None:
    for name in ("wsd", "cosine", "linear"):
        assert SCHEDULES[name](1000, 1000, 0.1, 0.5, 0.2) == pytest.approx(0.2, abs=2e-3)
