"""Instruction tuning against transformers' Trainer on the same batches."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_llama import HERE, random_llama
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from langraft.core.metrics import MetricsLog, read_metrics
from langraft.data.encode import Encoded
from langraft.data.samples import Phase, SampleFeed, lay
from langraft.recipe import Sft
from langraft.train.objectives import OBJECTIVES
from langraft.train.stage import Task, train_stage

ROWS, STEPS, LONGEST = 4, 6, 32


def _samples() -> list[Encoded]:
    """Questions and answers of uneven length."""
    generator = np.random.default_rng(7)
    found = []
    for _ in range(ROWS * STEPS):
        given, answer = generator.integers(2, 12, 2)
        ids = generator.integers(4, 64, given + answer)
        found.append(Encoded(ids, np.arange(given + answer) >= given))
    return found


def _collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The usual padding: labels -100, mask 0."""
    longest = max(len(row["input_ids"]) for row in rows)

    def pad(values: list[int], with_: int) -> list[int]:
        return [*values, *[with_] * (longest - len(values))]

    return {
        "input_ids": torch.tensor([pad(row["input_ids"], 0) for row in rows]),
        "labels": torch.tensor([pad(row["labels"], -100) for row in rows]),
        "attention_mask": torch.tensor([pad([1] * len(row["input_ids"]), 0) for row in rows]),
    }


class _InOrder(Trainer):
    def _get_train_sampler(self, *_: Any, **__: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def _by_trainer(samples: list[Encoded], folder: Path) -> list[float]:
    rows = [
        {
            "input_ids": sample.ids.tolist(),
            "labels": np.where(sample.learnt, sample.ids, -100).tolist(),
        }
        for sample in samples
    ]
    settings = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=ROWS // 2,
        gradient_accumulation_steps=2,
        num_train_epochs=1,
        learning_rate=2e-3,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    trainer = _InOrder(random_llama(), settings, train_dataset=rows, data_collator=_collate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _ours(samples: list[Encoded], folder: Path, **changes: Any) -> list[float]:
    stage = Sft(
        **{
            "data": "none",
            "lr": 2e-3,
            "schedule": "constant",
            "warmup": 0.0,
            "batch_tokens": ROWS * LONGEST,
            "row_tokens": LONGEST,
            **changes,
        }
    )
    laid = lay(samples)
    phases = [Phase("all", np.arange(len(laid)))]
    options = {"rows": ROWS, "row_tokens": LONGEST, "seed": 1}
    feed = SampleFeed(laid, phases, packed=False, shuffle=False, **options)  # type: ignore[arg-type]
    log = MetricsLog(folder / "metrics.jsonl", "sft")
    task = Task(feed, OBJECTIVES["next-token"](stage), new_rows=(64, 64))
    train_stage(random_llama(), task, stage, HERE, folder, log, lambda step, tokens: None)
    return [record["loss"] for record in read_metrics(folder / "metrics.jsonl")]


def test_the_losses_of_trainer(tmp_path: Path) -> None:
    samples = _samples()
    wanted = _by_trainer(samples, tmp_path / "theirs")
    found = _ours(samples, tmp_path)
    assert len(set(wanted)) == STEPS
    assert found == pytest.approx(wanted, abs=1e-4)


def test_accumulation_changes_nothing(tmp_path: Path) -> None:
    samples = _samples()
    (tmp_path / "parts").mkdir()
    whole = _ours(samples, tmp_path)
    assert _ours(samples, tmp_path / "parts", micro_rows=1) == pytest.approx(whole, abs=1e-5)
