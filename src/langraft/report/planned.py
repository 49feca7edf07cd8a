"""What the plan said beforehand beside what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from langraft.report.run import Run, finite
from langraft.report.words import duration, size


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training stage: planned, measured, and measured over planned, in words."""

    name: str
    memory: tuple[str, str, str]
    time: tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Planned:
    """The plan of a run's machine beside the run."""

    device: str
    stages: Sequence[Stage]


def planned(run: Run) -> Planned | None:
    """Every planned stage that has been trained; None without a plan or such a stage."""
    folders = {name.removeprefix("pretrain-"): name for name in run.training_stages()}
    folders |= {"sft": "sft"} if "sft" in run.manifests else {}
    stages = [
        _stage(run, folders[stage["name"]], stage)
        for stage in run.plan.get("stages", ())
        if run.results(folders.get(stage["name"], "")).get("tokens_per_second")
    ]
    if not stages:
        return None
    device = f"{run.plan['devices']:,} \N{MULTIPLICATION SIGN} {run.plan['device']['title']}"
    return Planned(device, stages)


def _stage(run: Run, folder: str, plan: Mapping[str, Any]) -> Stage:
    found = run.results(folder)
    hours = plan["hours"]
    usual, good, poor = (3600 * hours[part] for part in ("usual", "good", "poor"))
    took = found["tokens"] / found["tokens_per_second"]
    need, held = plan["memory"]["total"], _held(run, folder)
    return Stage(
        plan["name"],
        (size(need), size(held) if held else "", f"{held / need:.2f}" if held else ""),
        (
            f"{duration(usual)} ({duration(good)} to {duration(poor)})",
            duration(took),
            f"{took / usual:.2f}",
        ),
    )


def _held(run: Run, folder: str) -> float:
    """Bytes at the fullest moment: of the device where it is a GPU, else of the process."""
    logged = [
        1e9 * record["memory_gb"]
        for record in run.metrics
        if record["stage"] == folder and finite(record.get("memory_gb"))
    ]
    own: float = run.manifests[folder].get("peak_memory", 0)
    return max(logged, default=own)
