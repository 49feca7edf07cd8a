"""Instruction tuning and feedback: the curves of every stage, and its answers before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from langraft.report.charts import Chart, Line, Point, line_chart, smooth, thin
from langraft.report.run import Run, finite


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A chart: its title, and by legend where in the metrics its values are, and their tone."""

    title: str
    series: Mapping[str, tuple[str, str]]
    note: str = ""


LINES = (
    Drawn("Loss", {"training": ("loss", "ink"), "held out": ("held_out_loss", "new")}),
    Drawn("Reward", {"answers of the round": ("reward", "new")}, "Rules and reward model, mean."),
    Drawn(
        "Pairs ranked right",
        {"training": ("accuracy", "ink"), "held out": ("held_out.accuracy", "new")},
    ),
    Drawn(
        "Divergence from the model that the stage began with, nats an answer",
        {"its own answers": ("kl", "graft"), "the starting model's answers": ("answers.kl", "old")},
    ),
    Drawn(
        "Tokens of an answer",
        {"training": ("answer_tokens", "ink"), "fixed questions": ("answers.answer_tokens", "new")},
    ),
    Drawn(
        "Answers in the language of the question",
        {"training": ("same_language", "ink"), "fixed questions": ("answers.same_language", "new")},
        "Share of the text, from 0 to 1.",
    ),
    Drawn(
        "Answers that the model ended itself",
        {"training": ("ended", "ink"), "fixed questions": ("answers.ended", "new")},
    ),
)


@dataclasses.dataclass(frozen=True)
class Tuned:
    """One stage: its charts, a line of numbers, and (question, before, after) of its answers."""

    stage: str
    charts: Sequence[Chart]
    figures: Sequence[tuple[str, str]]
    samples: Sequence[tuple[str, str, str]]


def tuned(run: Run) -> list[Tuned]:
    """The stages of instruction tuning and feedback, in their order."""
    names = ["sft", *(f"align-{part.get('name')}" for part in run.recipe.get("align") or ())]
    found = [_tuned(run, name) for name in names]
    return [stage for stage in found if stage.charts or stage.samples]


def _tuned(run: Run, stage: str) -> Tuned:
    results = run.results(stage)
    charts = [chart for drawn in LINES if (chart := _chart(run, stage, drawn)) is not None]
    samples = [(s["prompt"], s["before"], s["after"]) for s in results.get("samples", ())]
    return Tuned(stage, charts, _figures(results), samples)


def _chart(run: Run, stage: str, drawn: Drawn) -> Chart | None:
    lines = []
    for name, (path, tone) in drawn.series.items():
        points = _points(run, stage, path)
        if len(points) < 2:
            continue
        few = len(points) <= 12
        shown = points if few else thin(smooth(points))
        lines.append(Line(name, shown, tone, dots=few))
    return line_chart(drawn.title, "steps", lines, note=drawn.note) if lines else None


def _points(run: Run, stage: str, path: str) -> list[Point]:
    """(step, value) of every record that holds `path`, behind what was measured at the start."""
    key, _, inner = path.partition(".")
    found = []
    before = run.results(stage).get(key)
    if isinstance(before, Mapping) and isinstance(before.get("before"), Mapping):
        found.append((0.0, before["before"].get(inner)))
    for record in run.metrics:
        if record["stage"] == stage and key in record:
            value = record[key].get(inner) if inner else record[key]
            found.append((float(record["step"]), value))
    return [(step, value) for step, value in found if finite(value)]


def _figures(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the stage says of itself in numbers: pairs ranked right, reward, loss, divergence."""
    found = []
    for key, value in results.items():
        if key in ("held_out_loss", "reward", "kl", "answer_tokens", "same_language"):
            sides = [side for side in value.values() if finite(side)]
            if len(sides) == 2:
                found.append((key.replace("_", " "), " → ".join(f"{side:.3f}" for side in sides)))
    held = results.get("held_out") or {}
    known = [(name, held.get(name)) for name in ("accuracy", "length_accuracy", "gap")]
    found += [(name.replace("_", " "), f"{v:.3f}") for name, v in known if finite(v)]
    return found
