"""Metrics beside `metrics.jsonl`: TensorBoard and trackio, both optional."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.metrics import MetricsLog

PACKAGE = {"tensorboard": "tensorboard", "trackio": "trackio"}
BOARD = "tensorboard"  # the folder inside the run


def tracked_log(run: Path, name: str, stage: str, track: Sequence[str]) -> MetricsLog:
    """The log of a stage; every number goes to the trackers named in `track` as well.

    Raises:
        BadInput: a tracker's package is not installed.
    """
    for tracker in track:
        if importlib.util.find_spec(PACKAGE[tracker]) is None:
            raise BadInput(f"hardware.track: {tracker} is not installed: pip install {tracker}")
    log = MetricsLog(run / name, stage)
    if "tensorboard" in track:
        log = _Board(run / name, stage, run / BOARD / stage, log)
    if "trackio" in track:
        log = _Trackio(run / name, stage, run.name, log)
    return log


def scalars(values: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number of a record, nested ones as `outer/inner`."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= scalars(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            found[prefix + key] = float(value)
    return found


class _Board(MetricsLog):
    """Also writes TensorBoard's event files."""

    def __init__(self, path: Path, stage: str, folder: Path, inner: MetricsLog) -> None:
        super().__init__(path, stage)
        self._folder, self._inner = folder, inner
        self._writer: Any = None

    def rewind(self, step: int) -> None:
        """Drop the records after `step` here and on the board."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._inner.rewind(step)
        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1 if step else None)

    def write(self, step: int, **values: Any) -> None:
        """Append one record here and on the board."""
        self._inner.write(step, **values)
        for name, value in scalars(values).items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """End the event file."""
        self._inner.close()
        if self._writer is not None:
            self._writer.close()


class _Trackio(MetricsLog):
    """Also hands the numbers to trackio."""

    def __init__(self, path: Path, stage: str, project: str, inner: MetricsLog) -> None:
        super().__init__(path, stage)
        import trackio

        self._inner = inner
        with redirect_stdout(sys.stderr):  # stdout is for results
            self._run = trackio.init(project=project, name=stage, resume="allow", embed=False)

    def rewind(self, step: int) -> None:
        """Drop the records after `step` here; trackio keeps what it has."""
        self._inner.rewind(step)

    def write(self, step: int, **values: Any) -> None:
        """Append one record here and hand it on."""
        self._inner.write(step, **values)
        self._run.log(scalars(values), step=step)

    def close(self) -> None:
        """Wait until trackio has everything."""
        self._inner.close()
        with redirect_stdout(sys.stderr):
            self._run.finish()
