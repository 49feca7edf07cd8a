"""A stage with another objective: what docs/engine.md promises to those who add one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from random_llama import HERE, random_llama, weights
from torch import Tensor
from transformers import PreTrainedModel

from langraft.core.metrics import MetricsLog, read_metrics
from langraft.data.pack import assemble
from langraft.recipe import Training
from langraft.train.loss import linear_logprobs
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device
from langraft.train.stage import Task, train_stage

PAIRS, LENGTH, STEPS = 8, 6, 12
STAGE: dict[str, Any] = {"name": "prefer", "lr": 3e-3, "checkpoint_seconds": 1e-9}


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Chosen and rejected sequences in turn, packed."""

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    boundaries: NDArray[np.int32]

    @property
    def counted(self) -> int:
        return (len(self.boundaries) - 1) // 2

    @property
    def longest(self) -> int:
        return LENGTH


class PairFeed:
    """Chosen sequences count upwards, rejected ones downwards."""

    parts = ("pairs",)
    steps = STEPS
    boundaries = frozenset[int]()

    def batches(
        self, position: int, micro_rows: int | None, rank: int, world: int
    ) -> Sequence[Pairs]:
        generator = np.random.default_rng(position)
        first = generator.integers(10, 50, PAIRS)
        both = [(n + d * np.arange(LENGTH)) % 64 for n in first for d in (1, -1)]
        size = 2 * (micro_rows or PAIRS)
        found = []
        for start in range(0, len(both), size):
            laid = assemble([both[start : start + size]])
            found.append(Pairs(laid.input_ids, laid.labels, laid.position_ids, laid.boundaries))
        return found

    def achieved(self) -> Mapping[str, float]:
        return {"pairs": 1.0}

    def extend(self) -> Sequence[str]:
        return ()

    def state(self) -> Mapping[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        assert state == {}


def pair_loss(model: PreTrainedModel, batch: Pairs, device: Device, sums: Tensor | None) -> Tensor:
    """-log sigmoid of how much likelier the chosen sequence is, summed over pairs."""
    with device.autocast():
        hidden = packed_hidden(model, batch, device)
        labels = torch.as_tensor(batch.labels)
        logprobs = linear_logprobs(hidden, model.get_output_embeddings().weight, labels)
    margin = logprobs.view(-1, 2, LENGTH - 1).sum(-1) @ torch.tensor([1.0, -1.0])
    if sums is not None:
        sums[0, -1] += (margin > 0).sum()
        sums[1, -1] += len(margin)
    return -torch.nn.functional.logsigmoid(margin).sum()


def _train(folder: Path, dies_at: int = 0, **changes: Any) -> tuple[Any, list[dict[str, Any]]]:
    folder.mkdir(exist_ok=True)
    model = random_llama()
    log = MetricsLog(folder / "metrics.jsonl", "prefer")
    task = Task(PairFeed(), pair_loss, measures=("accuracy",))

    def evaluate(step: int, tokens: int) -> None:
        if step == dies_at:
            raise KeyboardInterrupt

    stage = Training(**(STAGE | {"evaluate": STEPS} | changes))
    done = train_stage(model, task, stage, HERE, folder, log, evaluate)
    assert set(done.weights) == set(dict(model.named_parameters()))
    return model, read_metrics(folder / "metrics.jsonl")


def test_another_objective_learns_and_logs_its_measure(tmp_path: Path) -> None:
    _, records = _train(tmp_path)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert records[-1]["loss"] < 0.05 < records[0]["loss"]
    assert records[0]["accuracy"] in {n / PAIRS for n in range(PAIRS + 1)}
    assert records[-1]["accuracy"] == 1.0
    assert records[-1]["tokens"] == STEPS * PAIRS * 2 * LENGTH
    assert "loss_by" not in records[0]


@pytest.mark.parametrize("micro_rows", [1, 3])
def test_its_sums_are_divided_once(tmp_path: Path, micro_rows: int) -> None:
    _, whole = _train(tmp_path / "whole")
    _, parts = _train(tmp_path / "parts", micro_rows=micro_rows)
    assert [r["loss"] for r in parts] == pytest.approx([r["loss"] for r in whole], abs=1e-4)
    assert [r["accuracy"] for r in parts] == [r["accuracy"] for r in whole]


def test_it_is_killed_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    straight, _ = _train(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "broken", dies_at=7)
    resumed, records = _train(tmp_path / "broken")
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert all(torch.equal(v, weights(straight)[n]) for n, v in weights(resumed).items())
