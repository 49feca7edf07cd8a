"""The page of a plan: hours against devices, money, and the table of the stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.report.charts import Chart, Line, line_chart
from langraft.report.vocabulary import write_table_page


def write_plan(
    found: Mapping[str, Any], columns: Sequence[str], rows: Sequence[Sequence[str]], page: Path
) -> None:
    """Write the page of `langraft.plan.plan_recipe`'s answer.

    Raises:
        RunFailed: the page cannot be written.
    """
    fitting = [p for p in found["by_devices"] if p["fits"]] or found["by_devices"]
    charts = [_curve("Hours", "devices", "hours", fitting)]
    if found["money"]:
        charts.append(_curve("Money", "devices", "money", fitting))
    share = [(p["devices"], 100 * p["efficiency"]) for p in fitting]
    charts.append(
        line_chart(
            "Share of the devices' speed that is left, per cent",
            "devices",
            [Line("beside messages, stragglers, failures", share, "graft", True)],
        )
    )
    kept = [(point["devices"], 100 * point["goodput"]) for point in found["goodput"]]
    charts.append(
        line_chart(
            "Time that trains on 8 to 1,024 devices, per cent",
            "devices",
            [Line("beside stragglers, failures, checkpoints", kept, "graft", True)],
        )
    )
    hours = found["hours"]
    lede = (
        f"{found['base']} on {found['devices']:,} x {found['device']['title']}: "
        f"{hours['usual']:,.3g} hours, between {hours['good']:,.3g} and {hours['poor']:,.3g}."
    )
    write_table_page(page, f"Plan of {found['recipe']}", lede, charts, columns, rows, what="plan")


def _curve(title: str, x_label: str, key: str, points: Sequence[Mapping[str, Any]]) -> Chart:
    tones = (("poor", "old"), ("usual", "new"), ("good", "base"))
    lines = [
        Line(part, [(p["devices"], p[key][part]) for p in points], tone, dots=part == "usual")
        for part, tone in tones
    ]
    return line_chart(title, x_label, lines)
