"""Spikes: what is one, skipping, returning, jumping, giving up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_llama import HERE, course_over, random_llama, weights

from langraft.core.errors import RunFailed
from langraft.core.metrics import MetricsLog, read_metrics
from langraft.data.shards import Shard
from langraft.recipe import Pretrain
from langraft.train.checkpoints import complete
from langraft.train.guard import Guard, robust_z
from langraft.train.loop import Loop
from langraft.train.pretrain import pretrain, steps

ROW, ROWS, BUCKETS, POISONED = 16, 4, 4, 2
STAGE: dict[str, Any] = {
    "name": "adapt",
    "tokens": ROW * ROWS * 96,
    "epochs": 1_000,
    "lr": 3e-3,
    "batch_tokens": ROW * ROWS,
    "row_tokens": ROW,
    "schedule": "constant",
    "buckets": BUCKETS,
    "checkpoint_seconds": 1e9,
}


def test_robust_z_by_hand() -> None:
    """Median 3, absolute deviations 2 1 0 1 2, their median 1."""
    assert robust_z(7.0, [1, 2, 3, 4, 5], 0.1) == pytest.approx(4 / 1.4826)
    assert robust_z(3.5, [3.0] * 5, 0.25) == 2.0


def test_what_is_judged_a_spike() -> None:
    guard = Guard(threshold=6, window=32, skips=2, returns=1)
    for step in range(32):
        assert guard.judge(2.0 + 0.05 * (step % 3), 1.0) == ("take", "")
    verdict, reason = guard.judge(9.0, 1.0)
    assert (verdict, reason[:8]) == ("skip", "loss 9 w")
    assert guard.judge(2.0, 50.0)[0] == "return"  # the second in a row
    assert guard.judge(2.05, 1.1) == ("take", "")
    assert guard.judge(math.nan, 1.0) == ("skip", "loss is nan")
    assert guard.judge(2.0, math.inf) == ("return", "grad_norm is inf")
    again = Guard(threshold=6, window=32, skips=2, returns=1)
    again.load(guard.state())
    assert again.state() == guard.state()


def test_nothing_is_a_spike_before_there_is_a_history() -> None:
    guard = Guard(threshold=6, window=32, skips=2, returns=1)
    assert [guard.judge(loss, 1.0)[0] for loss in (9.0, 3.0, 30.0)] == ["take"] * 3


def _shard(poisoned: bool) -> Shard:
    """Documents that count upwards; every fourth, the third bucket, is noise when poisoned."""
    generator, count = np.random.default_rng(0), 64
    documents = [(np.arange(ROW) + n) % 40 for n in range(count)]
    if poisoned:
        for n in range(POISONED, count, BUCKETS):
            documents[n] = generator.integers(0, 64, ROW)
    offsets = np.arange(count + 1, dtype=np.int64) * ROW
    return Shard(np.concatenate(documents).astype(np.uint32), offsets)


def _train(
    folder: Path, poisoned: bool, **changes: Any
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    folder.mkdir(exist_ok=True)
    stage = Pretrain(**(STAGE | changes))
    course = course_over(
        {"zh": [_shard(poisoned)]},
        {"zh": 1.0},
        rows=ROWS,
        row_tokens=ROW,
        steps=steps(stage),
        buckets=BUCKETS,
        epochs=1_000,
    )
    model = random_llama()
    log = MetricsLog(folder / "metrics.jsonl", stage.name)
    done = pretrain(model, course, stage, (64, 64), HERE, folder, log, lambda s, t: None)
    return done.numbers, weights(model), read_metrics(folder / "metrics.jsonl")


def test_a_poisoned_bucket_is_skipped_and_jumped_over(tmp_path: Path) -> None:
    """24 of 96 steps are random bytes. Each return gets past the three that it stumbled over."""
    guard = {"skips": 8, "threshold": 8, "window": 8}
    numbers, _, records = _train(tmp_path / "guarded", True, guard=guard)
    events = [(event["step"], event["event"]) for event in numbers["guard"]]
    assert events[0] == (49, "skipped")
    assert [e for e in events if e[1] == "returned"] == [(48, "returned")] * 3
    assert numbers["steps"] == 96
    # what was learnt stays learnt: the last quarter is counting again
    assert numbers["loss_last"] < 1.0
    assert sum(1 for record in records if "skipped" in record) == 0
    assert [r["step"] for r in records if "loss" in r] == list(range(1, 97))
    unguarded, _, _ = _train(tmp_path / "unguarded", True, guard={"threshold": 1e9})
    assert "guard" not in unguarded


def test_a_single_bad_step_is_skipped_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Guard.judge
    calls: list[int] = []

    def once(self: Guard, loss: float, grad_norm: float) -> Any:
        calls.append(1)
        return judge(self, math.nan if len(calls) == 30 else loss, grad_norm)

    monkeypatch.setattr(Guard, "judge", once)
    numbers, _, records = _train(tmp_path, False)
    assert numbers["guard"] == [{"step": 30, "event": "skipped", "reason": "loss is nan"}]
    assert [record["step"] for record in records if "skipped" in record] == [30]


def _glitch(monkeypatch: pytest.MonkeyPatch, at: int, times: int) -> None:
    """The rate is 1e30 at one step, the first `times` times that it is done."""
    share = Loop.share
    done: list[int] = []

    def glitched(self: Loop, step: int) -> float:
        if step == at and len(done) < times:
            done.append(1)
            return 1e38
        return share(self, step)

    monkeypatch.setattr(Loop, "share", glitched)


def test_a_rate_that_makes_nan_leads_back_to_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _glitch(monkeypatch, at=60, times=1)
    numbers, found, records = _train(tmp_path, False)
    kinds = [event["event"] for event in numbers["guard"]]
    assert kinds == ["skipped", "skipped", "returned"]
    assert numbers["guard"][-1]["step"] == 48
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert numbers["loss_last"] < 1.0
    assert [record["step"] for record in records if "returned" in record] == [48]


def test_a_rate_that_always_makes_nan_ends_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _glitch(monkeypatch, at=60, times=100)
    with pytest.raises(RunFailed, match=r"adapt: step 6[0-9]: .*Lower lr"):
        _train(tmp_path, False)
    assert [place.name for place in complete(tmp_path)] == [
        "step-00000024-keep",
        "step-00000048-keep",
    ]


def test_without_a_checkpoint_there_is_nothing_to_return_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _glitch(monkeypatch, at=3, times=1)
    with pytest.raises(RunFailed, match="there is no checkpoint to return to yet"):
        _train(tmp_path, False)
