"""One stage of training by gradient, whatever it learns from and minimises: a model is made ready,
batches and loss become steps, the loop runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langraft.core.compute import peak_flops
from langraft.core.hardware import give_back_memory
from langraft.core.metrics import MetricsLog
from langraft.recipe import Hardware, Training
from langraft.train import attention
from langraft.train.checkpoints import Keep
from langraft.train.engine import run_loop
from langraft.train.flops import Shape, shape_of
from langraft.train.frozen import keep_frozen
from langraft.train.guard import Guard
from langraft.train.loop import Loop, StepWork
from langraft.train.objectives import Loss, Micro
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


class Feed(Protocol):
    """Where a stage's batches come from: a function of the position and of what `state` returns, so
    that a resume needs no reading of what came before. `langraft.data.course.Course` is one.
    """

    @property
    def parts(self) -> Sequence[str]:
        """What the loss is logged by: sources of a mix, levels of a curriculum."""
        ...

    @property
    def steps(self) -> int:
        """Steps in all."""
        ...

    @property
    def boundaries(self) -> frozenset[int]:
        """Steps after which a checkpoint stays."""
        ...

    def batches(
        self, position: int, micro_rows: int | None, rank: int, world: int
    ) -> Sequence[Micro]:
        """This rank's micro-batches at a position, as many as every other rank's."""
        ...

    def achieved(self) -> Mapping[str, float]:
        """The share that each part really had."""
        ...

    def extend(self) -> Sequence[str]:
        """Called at each boundary: take in what has come since; may make `steps` larger."""
        ...

    def state(self) -> Mapping[str, Any]:
        """What a checkpoint keeps, JSON-able."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        ...


@dataclasses.dataclass(frozen=True)
class Task:
    """What a stage learns from and what it minimises.

    Attributes:
        loss: see `langraft.train.objectives`.
        measures: names of what the loss adds to its `sums` behind the feed's parts.
        new_rows: first and one past the last id that the vocabulary's extension added.
        begin: called once the model is in its place, sharded and with its adapter, and has not
            learnt yet; on a resume too.
    """

    feed: Feed
    loss: Loss
    measures: Sequence[str] = ()
    new_rows: tuple[int, int] = (0, 0)
    begin: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The loop's numbers, and the weights that learnt: whole, by name, on the CPU."""

    numbers: dict[str, Any]
    weights: dict[str, Tensor]


class _Carry:
    """What a checkpoint of a stage carries besides the model."""

    def __init__(self, model: PreTrainedModel, feed: Feed, stage: Training) -> None:
        self._model, self._feed, self._stage = model, feed, stage

    def state(self) -> Mapping[str, Any]:
        return self._feed.state()

    def load(self, state: Mapping[str, Any]) -> None:
        self._feed.load(state)

    def replan(self, loop: Loop, at_boundary: bool) -> Loop:
        if at_boundary:
            self._feed.extend()
        if self._feed.steps == loop.steps:
            return loop
        return dataclasses.replace(
            loop,
            steps=self._feed.steps,
            boundaries=self._feed.boundaries,
            evaluate_at=loop.evaluate_at | evaluations(self._feed.steps, self._stage.evaluate),
        )

    def prepare(self, last_micro_batch: bool) -> None:
        hold_back_copies(self._model, last_micro_batch)


def train_stage(
    model: PreTrainedModel,
    task: Task,
    stage: Training,
    place: Place,
    folder: Path,
    log: MetricsLog,
    evaluate: Callable[[int, int], float | None],
) -> Outcome:
    """Train `model` in place for one stage.

    Args:
        folder: where checkpoints go.
        evaluate: called with (step, tokens) as often as the stage asks, the end included; what it
            returns, every rate is multiplied with from then on.

    Raises:
        BadInput: a key names what the model lacks.
    """
    ranks, feed = place.ranks, task.feed
    device = dataclasses.replace(place.device, cast=ranks.mesh is None)
    learner, shape = set_up(model, stage, task.new_rows, place)
    call_through(model, partial(task.loss, model))
    task.begin()
    names = [*(feed.parts if len(feed.parts) > 1 else ()), *task.measures]

    def work(position: int) -> StepWork:
        batches = feed.batches(position, stage.micro_rows, ranks.rank, ranks.world)
        sums = None
        if names:
            columns = len(feed.parts) + len(task.measures)
            sums = torch.zeros(2, columns, dtype=torch.float64, device=device.name)
        lengths = np.concatenate([np.diff(batch.boundaries) for batch in batches])
        return StepWork(
            [partial(model, batch, device, sums) for batch in batches],
            count=sum(batch.counted for batch in batches),
            tokens=sum(len(batch.input_ids) for batch in batches),
            sums=sums,
            parts=feed.parts,
            measures=task.measures,
            flops=shape.flops(lengths),
        )

    def measure(step: int, tokens: int) -> None:
        with gathered(model):
            factor = evaluate(step, tokens)
        learner.factor *= 1.0 if factor is None else factor

    carry = _Carry(model, feed, stage)
    loop = loop_of(stage, feed, place)
    numbers = run_loop(loop, work, learner, folder, log, measure, ranks, carry)
    learner.forget()  # the moments, twice the weights, would stay while the model is written
    give_back_memory()
    weights = {name: whole(parameter) for name, parameter in learner.parameters.items()}
    del model.forward  # the class's own again
    model.eval()
    return Outcome({"train": stage.train, **numbers, "mix": dict(feed.achieved())}, weights)


def set_up(
    model: PreTrainedModel, stage: Training, new_rows: tuple[int, int], place: Place
) -> tuple[Optimiser, Shape]:
    """Make `model` ready to train in place: adapter, what learns, dtypes, attention, sharding."""
    hardware, device = place.hardware, place.device
    if stage.train == "lora":
        add_lora(model, stage.lora, place.seed)
    chosen = select(model, stage.train, layers=stage.layers, embeddings=stage.lora.embeddings)
    shape = shape_of(model, set(chosen))
    keep_frozen(model, chosen, hardware.frozen, device)
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
        offload=hardware.offload == "all",
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


def loop_of(stage: Training, feed: Feed, place: Place) -> Loop:
    """The loop that the stage's keys describe."""
    name = torch.cuda.get_device_name() if place.device.name == "cuda" else "CPU"
    return Loop(
        name=stage.name,
        steps=feed.steps,
        warmup=stage.warmup,
        decay=stage.decay,
        clip=stage.clip,
        evaluate_at=evaluations(feed.steps, stage.evaluate),
        checkpoint_seconds=stage.checkpoint_seconds,
        schedule=stage.schedule,
        floor=stage.floor,
        boundaries=feed.boundaries,
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
