"""The benchmarks of a run: base and result with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from langraft.report.intervals import Mean, Pair, interval_chart
from langraft.report.run import Run
from langraft.report.words import MINUS


@dataclasses.dataclass(frozen=True)
class Benchmarks:
    """The chart, and a row of text a suite."""

    chart: Markup
    rows: Sequence[Mapping[str, Any]]


def benchmarks(run: Run) -> Benchmarks | None:
    """What the evaluation found on the recipe's suites; None when it asked none."""
    suites = run.results("eval").get("suites", ())
    if not suites:
        return None
    pairs = [
        Pair(suite["title"], {"base": Mean.of(suite["base"]), "new": Mean.of(suite["adapted"])})
        for suite in suites
    ]
    return Benchmarks(interval_chart("benchmarks, per cent right", pairs), list(map(_row, suites)))


def _row(suite: Mapping[str, Any]) -> dict[str, Any]:
    card, change = suite["card"], suite["difference"]
    return {
        "title": suite["title"],
        "protocol": f"{card['protocol']}, {card['shots']}-shot",
        "base": f"{100 * suite['base']['value']:.2f}",
        "adapted": f"{100 * suite['adapted']['value']:.2f}",
        "points": f"{100 * change['value']:+.2f}".replace("-", MINUS),
        "p": f"{change['p']:.3f}" if change["p"] >= 0.001 else "< 0.001",
        "count": f"{suite['base']['count']:,}",
        "notes": suite["notes"],
    }
