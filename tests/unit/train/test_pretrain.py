"""The loop: accumulation, frozen parts, killing and going on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_llama import (
    HERE,
    course_over,
    random_course,
    random_llama,
    random_shard,
    weights,
)
from transformers import LlamaForCausalLM

from langraft.core.metrics import MetricsLog, read_metrics
from langraft.data.course import Course
from langraft.data.pack import IGNORE
from langraft.recipe import Pretrain
from langraft.train.checkpoints import complete, drop_checkpoint
from langraft.train.flops import shape_of
from langraft.train.pretrain import pretrain, steps

NEW = (56, 62)
STAGE = {
    "name": "adapt",
    "tokens": 768,
    "lr": 1e-3,
    "batch_tokens": 128,
    "row_tokens": 16,
    "weight_decay": 0.1,
    "checkpoint_seconds": 1e-9,
}


class Killed(BaseException):
    """Stands for the end of the process."""


def _ignore(step: int, tokens: int) -> None:
    """Measure nothing."""


def _train(
    folder: Path,
    *,
    tied: bool = False,
    evaluate: Callable[[int, int], None] = _ignore,
    times: int = 1,
    **changes: Any,
) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    """Train; `evaluate` is called `times` times on the way."""
    folder.mkdir(exist_ok=True)
    model = random_llama(tied=tied)
    stage = Pretrain(**(STAGE | {"evaluate": times} | changes))
    log = MetricsLog(folder / "metrics.jsonl", stage.name)
    course = random_course(steps=steps(stage))
    done = pretrain(model, course, stage, NEW, HERE, folder, log, evaluate)
    return model, done.numbers


def _same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _records(folder: Path) -> list[dict[str, Any]]:
    kept = ("stage", "step", "loss", "grad_norm", "share", "tokens", "bits")
    return [
        {key: value for key, value in record.items() if key in kept}
        for record in read_metrics(folder / "metrics.jsonl")
    ]


def test_steps_are_what_the_budget_pays_for() -> None:
    assert steps(Pretrain(**STAGE)) == 6
    assert steps(Pretrain(**(STAGE | {"tokens": 1}))) == 1


def test_numbers_and_log(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    _, numbers = _train(tmp_path, evaluate=lambda step, tokens: seen.append((step, tokens)))
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record["tokens"] for record in records] == [128 * k for k in range(1, 7)]
    assert numbers["loss_first"] == pytest.approx(records[0]["loss"], abs=1e-4)
    assert numbers["loss_last"] == pytest.approx(sum(r["loss"] for r in records) / 6, abs=1e-4)
    assert numbers["loss_last"] < numbers["loss_first"]
    assert (numbers["steps"], numbers["tokens"], numbers["mix"]) == (6, 768, {"zh": 1.0})
    assert seen == [(6, 768)]


def test_the_log_tells_sources_time_and_utilisation_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of each source, weighed by its labels, is the loss; MFU is FLOP a second against the
    peak; what is left shrinks with the steps.
    """
    monkeypatch.setattr("langraft.train.stage.peak_flops", lambda name, devices: 1e9)
    shards = {name: [random_shard([5, 21, 40] * 4, 64, n)] for n, name in enumerate(("zh", "en"))}
    stage = Pretrain(**(STAGE | {"mix": {"zh": 0.75, "en": 0.25}, "epochs": 100}))
    course = course_over(shards, dict(stage.mix), steps=steps(stage), epochs=100)
    model, log = random_llama(), MetricsLog(tmp_path / "metrics.jsonl", "adapt")
    done = pretrain(model, course, stage, NEW, HERE, tmp_path, log, _ignore)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert done.numbers["mix"] == {"zh": 0.75, "en": 0.25}
    for step, record in enumerate(records):
        (batch,) = course.batches(step)
        part_of = batch.part_of[batch.labels != IGNORE]
        counts = {name: int((part_of == n).sum()) for n, name in enumerate(course.parts)}
        weighed = sum(record["loss_by"][name] * count for name, count in counts.items())
        assert record["loss"] == pytest.approx(weighed / batch.counted, abs=2e-5)
        speed, left = record["tokens_per_second"], (len(records) - step - 1) * 128
        assert record["seconds_left"] == pytest.approx(left / speed, rel=1e-5, abs=1e-6)
        flops = shape_of(model, set(done.weights)).flops(np.diff(batch.boundaries))
        assert record["mfu"] == pytest.approx(flops / 128 * speed / 1e9, rel=1e-5)


@pytest.mark.parametrize("train", ["full", "embeddings"])
def test_one_batch_of_eight_equals_eight_of_one(tmp_path: Path, train: str) -> None:
    whole, _ = _train(tmp_path / "8", train=train, tokens=384)
    for micro_rows in (1, 3, 4):
        parts, _ = _train(
            tmp_path / str(micro_rows), train=train, tokens=384, micro_rows=micro_rows
        )
        for name, value in weights(whole).items():
            torch.testing.assert_close(
                weights(parts)[name], value, atol=1e-6, rtol=0, msg=f"{micro_rows} {name}"
            )


@pytest.mark.parametrize("tied", [False, True])
def test_new_rows_alone_learn(tmp_path: Path, tied: bool) -> None:
    before = weights(random_llama(tied=tied))
    model, numbers = _train(tmp_path, tied=tied, train="new-rows", lr=1e-2)
    assert numbers["train"] == "new-rows"
    first, last = NEW
    for name, value in weights(model).items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(value[:first], before[name][:first])
            assert torch.equal(value[last:], before[name][last:])
            assert (value[first:last] - before[name][first:last]).abs().max() > 1e-2
        else:
            assert torch.equal(value, before[name]), name
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied


def test_embeddings_leave_the_body_alone(tmp_path: Path) -> None:
    before = weights(random_llama())
    model, _ = _train(tmp_path, train="embeddings")
    changed = {n for n, value in weights(model).items() if not torch.equal(value, before[n])}
    assert changed == {"model.embed_tokens.weight", "lm_head.weight"}


def test_new_rows_have_their_own_rate(tmp_path: Path) -> None:
    """The first step of Adam moves every coordinate by the rate, whatever the gradient."""
    before = weights(random_llama())
    model, _ = _train(tmp_path, tokens=128, warmup=0, decay=0, lr_new_rows=5e-3, train="embeddings")
    moved = (weights(model)["lm_head.weight"] - before["lm_head.weight"]).abs()
    assert moved[: NEW[0]].median() == pytest.approx(1e-3, rel=0.01)
    assert moved[NEW[0] : NEW[1]].median() == pytest.approx(5e-3, rel=0.01)
    assert moved[NEW[1] :].median() == pytest.approx(1e-3, rel=0.01)


def _killed_at(step_of_death: int) -> Callable[[int, int], None]:
    def evaluate(step: int, tokens: int) -> None:
        if step == step_of_death:
            raise Killed

    return evaluate


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("train", ["full", "new-rows"])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, train: str, tied: bool) -> None:
    options: dict[str, Any] = {"train": train, "tied": tied, "lr_new_rows": 3e-3}
    straight, numbers = _train(tmp_path / "straight", **options)
    broken = tmp_path / "broken"
    with pytest.raises(Killed):
        _train(broken, evaluate=_killed_at(4), times=6, **options)
    assert [record["step"] for record in _records(broken)] == [1, 2, 3, 4]
    resumed, again = _train(broken, **options)
    assert _same(resumed, straight)
    assert _records(broken) == _records(tmp_path / "straight")
    for key in ("steps", "tokens", "loss_first", "loss_last"):
        assert again[key] == numbers[key]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions whose batches were asked for."""
    found: list[int] = []
    batches = Course.batches

    def seen(self: Course, position: int, *arguments: Any) -> Any:
        found.append(position)
        return batches(self, position, *arguments)

    monkeypatch.setattr(Course, "batches", seen)
    return found


def test_half_a_checkpoint_is_not_read(tmp_path: Path, asked: list[int]) -> None:
    """What a kill while writing leaves: a folder without a final name, and one without a state."""
    straight, _ = _train(tmp_path / "straight")
    broken = tmp_path / "broken"
    with pytest.raises(Killed):
        _train(broken, evaluate=_killed_at(5), times=6)
    places = complete(broken)
    assert [place.name for place in places] == ["step-00000003", "step-00000004"]
    (broken / "checkpoint" / "step-00000005.partial").mkdir(exist_ok=True)
    (broken / "checkpoint" / "step-00000005.partial" / "half.safetensors").write_bytes(b"half")
    (places[1] / "state.json").unlink()
    asked.clear()
    resumed, _ = _train(broken)
    assert asked == [3, 4, 5]
    assert [record["step"] for record in _records(broken)] == [1, 2, 3, 4, 5, 6]
    assert _same(resumed, straight)


def test_going_on_does_not_repeat_steps(tmp_path: Path, asked: list[int]) -> None:
    with pytest.raises(Killed):
        _train(tmp_path, evaluate=_killed_at(4), times=6)
    assert asked == [0, 1, 2, 3]
    _train(tmp_path)
    assert asked == [0, 1, 2, 3, 3, 4, 5]


def test_which_checkpoints_stay(tmp_path: Path) -> None:
    _train(tmp_path, keep=1, keep_every=2)
    names = [place.name for place in complete(tmp_path)]
    assert names == ["step-00000002-keep", "step-00000004-keep", "step-00000005"]


def test_a_checkpoint_can_be_dropped(tmp_path: Path) -> None:
    _train(tmp_path)
    assert (tmp_path / "checkpoint").is_dir()
    drop_checkpoint(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
