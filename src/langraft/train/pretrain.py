"""Continued pretraining: packed rows in exact mixes, next-token loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.core.metrics import MetricsLog
from langraft.data.course import Course
from langraft.data.pack import IGNORE, Batch
from langraft.recipe import Hardware, Pretrain
from langraft.train import attention
from langraft.train.checkpoints import Keep
from langraft.train.engine import run_loop
from langraft.train.flops import Shape, peak_flops, shape_of
from langraft.train.guard import Guard
from langraft.train.loop import Loop, StepWork
from langraft.train.loss import linear_cross_entropy
from langraft.train.optim import NewRows, Optimiser
from langraft.train.precision import Device
from langraft.train.ranks import ALONE, Ranks
from langraft.train.shard import call_through, gathered, hold_back_copies, parallelise, whole
from langraft.train.trainable import add_lora, embedding_matrices, select


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a stage runs: the device, the ranks, the recipe's hardware section, and the seed."""

    device: Device
    ranks: Ranks = ALONE
    hardware: Hardware = dataclasses.field(default_factory=Hardware)
    seed: int = 17


def packed_hidden(
    model: PreTrainedModel, batch: Batch, device: Device, embedded: Tensor | None = None
) -> Tensor:
    """The last hidden states of a packed batch, shape (T, D); call it under the device's autocast.

    `embedded`, shape (T, D), takes the place of the input matrix's rows. The model must have been
    set to the `packed` attention (`langraft.train.attention`).
    """

    def on_device(array: Any) -> Tensor:
        return torch.as_tensor(array).to(device.name, non_blocking=True)

    boundaries = on_device(batch.boundaries)
    # the next power of two: an upper bound is enough, and a compiled block sees few of them
    longest = 1 << (batch.longest - 1).bit_length()
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


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised beside the next token's loss; see `linear_cross_entropy` and NEFTune
    (arXiv 2310.05914).
    """

    z_loss: float = 0.0
    smoothing: float = 0.0
    neftune: float = 0.0


def batch_loss(
    model: PreTrainedModel,
    batch: Batch,
    device: Device,
    objective: Objective = Objective(),
    parts: Tensor | None = None,
) -> Tensor:
    """The summed next-token loss of one micro-batch, in nats.

    Args:
        parts: the summed loss and the labels of each part of the mix are added to it, shape (2,
            parts), float64.
    """
    weight = model.get_output_embeddings().weight
    with device.autocast():
        embedded = _noisy(model, batch, device, objective.neftune) if objective.neftune else None
        hidden = packed_hidden(model, batch, device, embedded)
        hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
        labels = torch.as_tensor(batch.labels).to(device.name, non_blocking=True)
        loss, _, logprobs = linear_cross_entropy(
            hidden, weight, labels, z_loss=objective.z_loss, smoothing=objective.smoothing
        )
    if parts is not None:
        part = torch.as_tensor(batch.part_of[batch.labels != IGNORE]).to(parts.device)
        parts[0].index_add_(0, part, -logprobs.double())
        parts[1].index_add_(0, part, torch.ones_like(logprobs, dtype=torch.float64))
    return loss


def _noisy(model: PreTrainedModel, batch: Batch, device: Device, alpha: float) -> Tensor:
    """Embeddings with uniform noise of alpha / sqrt(length of the document x width)."""
    embedded = model.get_input_embeddings()(torch.as_tensor(batch.input_ids).to(device.name))
    lengths = np.diff(batch.boundaries)
    size = alpha / np.sqrt(np.repeat(lengths, lengths) * embedded.shape[-1])
    noise = torch.empty_like(embedded).uniform_(-1, 1)
    return embedded + noise * torch.as_tensor(size).to(embedded)[:, None]


class _Carry:
    """What a checkpoint of this stage carries besides the model."""

    def __init__(self, model: PreTrainedModel, course: Course, stage: Pretrain) -> None:
        self._model, self._course, self._stage = model, course, stage

    def state(self) -> Mapping[str, Any]:
        return self._course.state()

    def load(self, state: Mapping[str, Any]) -> None:
        self._course.load(state)

    def replan(self, loop: Loop, at_boundary: bool) -> Loop:
        if at_boundary:
            self._course.extend()
        if self._course.steps == loop.steps:
            return loop
        return dataclasses.replace(
            loop,
            steps=self._course.steps,
            boundaries=self._course.boundaries,
            evaluate_at=loop.evaluate_at | evaluations(self._course.steps, self._stage.evaluate),
        )

    def prepare(self, last_micro_batch: bool) -> None:
        hold_back_copies(self._model, last_micro_batch)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The loop's numbers, and the weights that learnt: whole, by name, on the CPU."""

    numbers: dict[str, Any]
    weights: dict[str, Tensor]


def pretrain(
    model: PreTrainedModel,
    course: Course,
    stage: Pretrain,
    new_rows: tuple[int, int],
    place: Place,
    folder: Path,
    log: MetricsLog,
    evaluate: Callable[[int, int], float | None],
) -> Outcome:
    """Train `model` in place for one stage.

    Args:
        course: lays out the batches.
        new_rows: first and one past the last id that the extension added.
        folder: where checkpoints go.
        evaluate: called with (step, tokens) as often as the stage asks, the end included; what it
            returns, every rate is multiplied with from then on.

    Raises:
        BadInput: the batch does not divide among the ranks, or a key names what the model lacks.
    """
    ranks = place.ranks
    device = dataclasses.replace(place.device, cast=ranks.mesh is None)
    rows = stage.batch_tokens // stage.row_tokens
    if rows % ranks.world:
        raise BadInput(
            f"pretrain {stage.name}: batch_tokens {stage.batch_tokens} is {rows} rows, which "
            f"{ranks.world} ranks cannot share evenly; take a multiple of "
            f"{ranks.world * stage.row_tokens}"
        )
    learner, shape = set_up(model, stage, new_rows, place)
    objective = Objective(stage.z_loss, stage.label_smoothing, stage.neftune)
    call_through(model, partial(batch_loss, model))

    def work(position: int) -> StepWork:
        batches = course.batches(position, stage.micro_rows, ranks.rank, ranks.world)
        count = len(course.parts)
        parts = torch.zeros(2, count, dtype=torch.float64, device=device.name)
        seen, names = (parts, course.parts) if count > 1 else (None, [])
        losses = [partial(model, batch, device, objective, seen) for batch in batches]
        lengths = np.concatenate([np.diff(batch.boundaries) for batch in batches])
        counted = sum(batch.counted for batch in batches)
        flops = shape.flops(lengths) * ranks.world
        return StepWork(losses, counted, stage.batch_tokens, seen, names, flops)

    def measure(step: int, tokens: int) -> None:
        with gathered(model):
            factor = evaluate(step, tokens)
        learner.factor *= 1.0 if factor is None else factor

    carry = _Carry(model, course, stage)
    loop = loop_of(stage, course, place)
    numbers = run_loop(loop, work, learner, folder, log, measure, ranks, carry)
    weights = {name: whole(parameter) for name, parameter in learner.parameters.items()}
    del model.forward  # the class's own again
    model.eval()
    numbers = {"train": stage.train, **numbers, "mix": course.achieved()}
    return Outcome(numbers, weights)


def set_up(
    model: PreTrainedModel, stage: Pretrain, new_rows: tuple[int, int], place: Place
) -> tuple[Optimiser, Shape]:
    """Make `model` ready to train in place: adapter, what learns, dtypes, attention, sharding."""
    hardware, device = place.hardware, place.device
    if stage.train == "lora":
        add_lora(model, stage.lora, place.seed)
    chosen = select(model, stage.train, layers=stage.layers, embeddings=stage.lora.embeddings)
    shape = shape_of(model, set(chosen))
    if hardware.frozen == "bf16":
        if not device.bf16:
            raise BadInput("hardware.frozen: bf16 needs hardware.precision bf16 as well")
        for name, parameter in model.named_parameters():
            if name not in chosen:
                parameter.data = parameter.data.to(torch.bfloat16)
    if place.ranks.mesh is None:
        model.to(device.name)
    model.set_attn_implementation(attention.register())
    model.train()
    parallelise(
        model,
        place.ranks,
        bf16=device.bf16,
        checkpointing=hardware.checkpointing,
        compiled=hardware.compile,
    )
    parameters = dict(model.named_parameters())
    matrix_rate = stage.lr_embeddings or stage.lr
    rows = NewRows(
        *new_rows,
        ratio=(stage.lr_new_rows or matrix_rate) / matrix_rate,
        only=stage.train == "new-rows",
    )
    learner = Optimiser(
        {name: parameters[name] for name in chosen},
        stage.lr,
        weight_decay=stage.weight_decay,
        matrices=embedding_matrices(model),
        new_rows=rows,
        lr_matrices=matrix_rate,
        states=hardware.states,
    )
    return learner, shape


def loop_of(stage: Pretrain, course: Course, place: Place) -> Loop:
    """The loop that the stage's keys describe."""
    name = torch.cuda.get_device_name() if place.device.name == "cuda" else "CPU"
    return Loop(
        name=stage.name,
        steps=course.steps,
        warmup=stage.warmup,
        decay=stage.decay,
        clip=stage.clip,
        evaluate_at=evaluations(course.steps, stage.evaluate),
        checkpoint_seconds=stage.checkpoint_seconds,
        schedule=stage.schedule,
        floor=stage.floor,
        boundaries=course.boundaries,
        rewarm=stage.rewarm == "bucket",
        guard=Guard(**stage.guard.model_dump()),
        keep=Keep(stage.keep, stage.keep_every),
        seed=place.seed,
        peak_flops=peak_flops(name, place.ranks.world),
        hang_seconds=place.hardware.hang_seconds,
    )


def evaluations(steps: int, times: int) -> frozenset[int]:
    """The steps after which to measure: `times` of them, evenly apart, the last included."""
    return frozenset(round(steps * k / times) for k in range(1, times + 1))


def steps(stage: Pretrain) -> int:
    """Optimiser steps that the stage's token budget pays for (at least one)."""
    return max(1, round(stage.tokens / stage.batch_tokens))
