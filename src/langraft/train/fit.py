"""Learning one matrix of rows with the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        self, start: Tensor, work: Callable[[nn.Parameter], Callable[[int], StepWork]]
    ) -> tuple[Tensor, dict[str, Any]]:
        """The learnt rows and the loop's numbers; `work` makes the steps from the rows that
        learn.
        """
        folder = self.folder / self.name
        done = folder / ROWS
        if not done.exists():
            folder.mkdir(exist_ok=True)
            rows = nn.Parameter(start.clone())
            loop = Loop(self.name, self.steps, warmup=0.0, decay=1.0, clip=UNCLIPPED)
            learner = Optimiser({"rows": rows}, self.lr, betas=BETAS)
            log = MetricsLog(self.metrics, f"graft, {self.name}")
            numbers = run_loop(loop, work(rows), learner, folder, log)
            temporary = folder / (ROWS + PARTIAL)
            with disk_errors(done):
                save_file({"rows": rows.detach()}, temporary)
                write_json(folder / NUMBERS, numbers)
                temporary.replace(done)
            drop_checkpoint(folder)
        return load_file(done)["rows"], read_json(folder / NUMBERS)
