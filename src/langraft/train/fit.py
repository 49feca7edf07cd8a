"""Learning one matrix of rows with the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from langraft.core.io import PARTIAL, disk_errors, read_json, write_json
from langraft.core.metrics import MetricsLog
from langraft.train.engine import Loop, StepWork, drop_checkpoint, run_loop
from langraft.train.optim import Optimiser

ROWS, NUMBERS = "rows.safetensors", "numbers.json"
UNCLIPPED = 1e9
BETAS = (0.9, 0.99)


@dataclasses.dataclass(frozen=True)
class Moving:
    """Rows on their way from `start`: one shift is learnt for all of them, which carries along what
    the text shows too seldom, and one for each.

    Attributes:
        start: shape (pieces, D).
        shift: shape (D,).
        own: shape (pieces, D).
    """

    start: Tensor
    shift: nn.Parameter
    own: nn.Parameter

    @classmethod
    def of(cls, start: Tensor) -> Moving:
        """Not moved yet."""
        return cls(
            start, nn.Parameter(torch.zeros_like(start[0])), nn.Parameter(torch.zeros_like(start))
        )

    def rows(self) -> Tensor:
        """Where they are now."""
        return self.start + self.shift + self.own


@dataclasses.dataclass(frozen=True)
class Fit:
    """Learning one matrix of rows with the engine; a finished one is kept for a killed run.

    Attributes:
        name: shown on the bar, and the name of its folder and its records.
        steps, lr: Adam's steps and peak rate, decayed linearly.
        folder: where its own folder is.
        metrics: the run's metrics file.
    """

    name: str
    steps: int
    lr: float
    folder: Path
    metrics: Path

    def __call__(
        self, start: Tensor, work: Callable[[Moving], Callable[[int], StepWork]]
    ) -> tuple[Tensor, dict[str, Any]]:
        """The learnt rows and the loop's numbers; `work` makes the steps from the rows that
        learn, which are float32 as `start` is.
        """
        folder = self.folder / self.name
        done = folder / ROWS
        if not done.exists():
            folder.mkdir(exist_ok=True)
            moving = Moving.of(start)
            loop = Loop(self.name, self.steps, warmup=0.0, decay=1.0, clip=UNCLIPPED)
            learner = Optimiser({"own": moving.own, "shift": moving.shift}, self.lr, betas=BETAS)
            log = MetricsLog(self.metrics, f"graft, {self.name}")
            numbers = run_loop(loop, work(moving), learner, folder, log)
            temporary = folder / (ROWS + PARTIAL)
            with disk_errors(done):
                save_file({"rows": moving.rows().detach()}, temporary)
                write_json(folder / NUMBERS, numbers)
                temporary.replace(done)
            drop_checkpoint(folder)
        return load_file(done)["rows"], read_json(folder / NUMBERS)
