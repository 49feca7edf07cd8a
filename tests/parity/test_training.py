"""Our loop against the one everybody writes: transformers' own loss, torch's own AdamW."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_llama import HERE, course_over, random_llama, random_shard, weights

from langraft.core.metrics import MetricsLog, read_metrics
from langraft.data.course import Course
from langraft.data.pack import Row
from langraft.recipe import Pretrain
from langraft.train.pretrain import pretrain
from langraft.train.schedule import wsd

ROW, ROWS, STEPS = 24, 4, 5


def _course() -> Course:
    """Documents of exactly one row, so that rows are documents and nothing is packed."""
    shard = random_shard([ROW] * 11, 64)
    return course_over({"zh": [shard]}, {"zh": 1.0}, rows=ROWS, row_tokens=ROW, steps=STEPS, seed=3)


def _rows(step: int) -> list[Row]:
    course = _course()
    return [course.read(step, place) for place in course.places(step)]


def _stage() -> Pretrain:
    return Pretrain(
        name="adapt",
        tokens=ROW * ROWS * STEPS,
        lr=2e-3,
        batch_tokens=ROW * ROWS,
        row_tokens=ROW,
        warmup=0.4,
        decay=0.4,
        weight_decay=0.1,
    )


def _by_hand(model: torch.nn.Module) -> list[float]:
    matrices = ("model.embed_tokens.weight", "lm_head.weight")
    decayed = [p for n, p in model.named_parameters() if p.ndim == 2 and n not in matrices]
    plain = [p for n, p in model.named_parameters() if p.ndim == 1 or n in matrices]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    losses = []
    for step in range(STEPS):
        ids = torch.tensor([row[0].tolist() for row in _rows(step)])
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * wsd(step, STEPS, 0.4, 0.4)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("tied", [False, True])
def test_five_steps_of_a_plain_transformers_loop(tmp_path: Path, tied: bool) -> None:
    ours, theirs = random_llama(tied=tied), random_llama(tied=tied)
    assert {len(row) for step in range(STEPS) for row in _rows(step)} == {1}
    wanted = _by_hand(theirs)
    log = MetricsLog(tmp_path / "metrics.jsonl", "adapt")
    pretrain(ours, _course(), _stage(), (64, 64), HERE, tmp_path, log, lambda step, tokens: None)
    found = [record["loss"] for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert wanted[-1] < wanted[0]
    for name, value in weights(theirs).items():
        # Adam divides by the gradient's size, so one that is nearly zero has no stable direction.
        apart = (weights(ours)[name] - value).abs()
        assert float(apart.mean()) < 1e-6, name
        assert float(apart.max()) < 2e-4, name
