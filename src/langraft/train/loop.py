"""What a loop is told: the work of a step, how long and how, and what else a checkpoint carries."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol

from torch import Tensor

from langraft.train.checkpoints import Keep
from langraft.train.guard import Guard
from langraft.train.schedule import SCHEDULES


@dataclasses.dataclass(frozen=True)
class StepWork:
    """What one optimiser step learns from on this rank.

    Attributes:
        micro_batches: each call returns one summed loss (a scalar with gradient); they are added
            up.
        count: what the sum is divided by, added up over all ranks: the labels that count, over all
            micro-batches.
        tokens: tokens that this rank feeds to the model, for the log.
        sums: filled while the micro-batches run: sums and counts of what is logged, first by part
            (the loss by source), then the other measures, shape (2, parts + measures), float64;
            added up over the ranks, and each sum divided by its count.
        parts, measures: their names.
        flops: floating-point operations of this rank, for the log.
    """

    micro_batches: Sequence[Callable[[], Tensor]]
    count: int
    tokens: int
    sums: Tensor | None = None
    parts: Sequence[str] = ()
    measures: Sequence[str] = ()
    flops: float = 0.0


@dataclasses.dataclass(frozen=True)
class Loop:
    """How long and how.

    Attributes:
        name: the stage, shown on the bar.
        steps: optimiser steps in all.
        warmup, decay, schedule, floor: see `langraft.train.schedule`.
        clip: largest gradient norm.
        evaluate_at: steps after which `evaluate` is called; the last one should be among them.
        checkpoint_seconds: time between checkpoints.
        boundaries: steps after which a checkpoint is written that stays, the last one excepted.
        rewarm: the schedule runs anew from each boundary to the next.
        guard: what to do about spikes; None: a loss that is not finite ends the run.
        keep: which checkpoints stay.
        seed: with the step and the rank it decides all random numbers of a step.
        peak_flops: what all devices could do in a second, for the model FLOP utilisation.
        hang_seconds: see `Watch`.
    """

    name: str
    steps: int
    warmup: float
    decay: float
    clip: float
    evaluate_at: frozenset[int] = frozenset()
    checkpoint_seconds: float = 60.0
    schedule: str = "wsd"
    floor: float = 0.0
    boundaries: frozenset[int] = frozenset()
    rewarm: bool = False
    guard: Guard | None = None
    keep: Keep = dataclasses.field(default_factory=Keep)
    seed: int = 0
    peak_flops: float | None = None
    hang_seconds: float = 1_800.0

    def share(self, step: int) -> float:
        """The share of the peak rate at 0-based `step`."""
        first, last = 0, self.steps
        if self.rewarm:
            first = max((b for b in self.boundaries if b <= step), default=0)
            last = min((b for b in self.boundaries if b > step), default=self.steps)
        schedule = SCHEDULES[self.schedule]
        return schedule(step - first, last - first, self.warmup, self.decay, self.floor)


class Carried(Protocol):
    """What else a checkpoint carries: the state of data, mix and meter."""

    def state(self) -> Mapping[str, Any]:
        """Everything that changes while training, JSON-able."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        ...

    def replan(self, loop: Loop, at_boundary: bool) -> Loop:
        """The loop as it goes on from here: at a boundary the plan may have become longer."""
        ...

    def prepare(self, last_micro_batch: bool) -> None:
        """Called before each micro-batch's backward pass."""
        ...


class Alone:
    """Nothing is carried: the loop's steps depend on the step alone."""

    def state(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to put back."""

    def replan(self, loop: Loop, at_boundary: bool) -> Loop:
        """The same loop."""
        del at_boundary
        return loop

    def prepare(self, last_micro_batch: bool) -> None:
        """Nothing to do."""


class Stop:
    """Whether SIGTERM has come; only the main thread can listen."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True
