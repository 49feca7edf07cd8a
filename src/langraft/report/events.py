"""What the guard and the forgetting meter did while the model trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from langraft.report.run import Run
from langraft.report.words import percent


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened: in which stage, after which step, what (and in a word), and why."""

    stage: str
    step: int
    what: str
    why: str
    short: str


def events(run: Run) -> list[Event]:
    """Skipped steps, returns to a checkpoint, and what the meter changed, in their order."""
    found = []
    for stage in run.training_stages():
        own = [*_guard(run, stage), *_meter(run, stage)]
        found += sorted(own, key=lambda event: event.step)
    return found


def _guard(run: Run, stage: str) -> Iterator[Event]:
    """A finished stage lists them all; of one that still trains the log is read."""
    name = stage.removeprefix("pretrain-")
    words = {"skipped": "step skipped", "returned": "back to this step's checkpoint"}
    short = {"skipped": "skip", "returned": "back"}
    if run.results(stage):
        for event in run.results(stage).get("guard", ()):
            kind = event["event"]
            yield Event(name, event["step"], words[kind], event["reason"], short[kind])
        return
    for record in run.metrics:
        for key, what in words.items():
            if record["stage"] == stage and key in record:
                yield Event(name, record["step"], what, str(record[key]), short[key])


def _meter(run: Run, stage: str) -> Iterator[Event]:
    for record in run.metrics:
        seen: dict[str, Any] = record.get("forgetting") or {}
        if record["stage"] != stage or not seen.keys() & {"replay", "rates_times"}:
            continue
        why = f"{seen['source']} {percent(seen['rise'])} above the base"
        what = (
            f"old languages now {seen['replay']:.0%} of the mix"
            if "replay" in seen
            else f"all rates times {seen['rates_times']:g}"
        )
        short = "replay" if "replay" in seen else "rates"
        yield Event(stage.removeprefix("pretrain-"), record["step"], what, why, short)
