"""Continued pretraining: packed rows in exact mixes, next-token loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langraft.core.metrics import MetricsLog
from langraft.data.pack import Batch, Mix, assemble
from langraft.recipe import Pretrain
from langraft.train import attention
from langraft.train.engine import Loop, StepWork, run_loop
from langraft.train.loss import linear_cross_entropy
from langraft.train.optim import NewRows, Optimiser, embedding_matrices, select
from langraft.train.precision import Device


def packed_hidden(
    model: PreTrainedModel, batch: Batch, device: Device, embedded: Tensor | None = None
) -> Tensor:
    """The last hidden states of a packed batch, shape (T, D); call it under the device's autocast.

    `embedded`, shape (T, D), takes the place of the input matrix's rows. The model must have been
    set to the `packed` attention (`langraft.train.attention`).
    """

    def on_device(array: Any) -> Tensor:
        return torch.as_tensor(array).to(device.name)

    boundaries = on_device(batch.boundaries)
    longest = int(boundaries.diff().max())
    ids = {"input_ids": on_device(batch.input_ids)[None]}
    return model.base_model(
        **(ids if embedded is None else {"inputs_embeds": embedded[None]}),
        position_ids=on_device(batch.position_ids)[None],
        use_cache=False,
        cu_seq_lens_q=boundaries,
        cu_seq_lens_k=boundaries,
        max_length_q=longest,
        max_length_k=longest,
    ).last_hidden_state[0]


def batch_loss(model: PreTrainedModel, batch: Batch, device: Device) -> Tensor:
    """The summed next-token loss of one micro-batch, in nats."""
    with device.autocast():
        hidden = packed_hidden(model, batch, device)
        hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
        labels = torch.as_tensor(batch.labels).to(device.name)
        return linear_cross_entropy(hidden, model.get_output_embeddings().weight, labels)[0]


def pretrain(
    model: PreTrainedModel,
    mix: Mix,
    stage: Pretrain,
    new_rows: tuple[int, int],
    device: Device,
    folder: Path,
    log: MetricsLog,
    evaluate: Callable[[int, int], None],
) -> dict[str, Any]:
    """Train `model` in place for one stage and return the loop's numbers with the achieved mix.

    Args:
        mix: lays out at least `steps(stage)` batches.
        new_rows: first and one past the last id that the extension added.
        folder: where checkpoints go.
        evaluate: called with (step, tokens) as often as the stage asks, the end included.
    """
    model.to(device.name)
    model.set_attn_implementation(attention.register())
    model.train()
    rows = NewRows(
        *new_rows, ratio=(stage.lr_new_rows or stage.lr) / stage.lr, only=stage.train == "new-rows"
    )
    learner = Optimiser(
        select(model, stage.train),
        stage.lr,
        weight_decay=stage.weight_decay,
        matrices=embedding_matrices(model),
        new_rows=rows,
    )
    micro_rows = stage.micro_rows or stage.batch_tokens // stage.row_tokens

    def work(step: int) -> StepWork:
        found = mix.rows(step)
        batches = [assemble(found[a : a + micro_rows]) for a in range(0, len(found), micro_rows)]
        losses = [partial(batch_loss, model, batch, device) for batch in batches]
        return StepWork(losses, sum(batch.counted for batch in batches), stage.batch_tokens)

    total = steps(stage)
    loop = Loop(
        name=stage.name,
        steps=total,
        warmup=stage.warmup,
        decay=stage.decay,
        clip=stage.clip,
        evaluate_at=frozenset(
            round(total * k / stage.evaluate) for k in range(1, stage.evaluate + 1)
        ),
        checkpoint_seconds=stage.checkpoint_seconds,
    )
    numbers = run_loop(loop, work, learner, folder, log, evaluate)
    model.eval()
    return {"train": stage.train, **numbers, "mix": mix.achieved(total)}


def steps(stage: Pretrain) -> int:
    """Optimiser steps that the stage's token budget pays for (at least one)."""
    return max(1, round(stage.tokens / stage.batch_tokens))
