"""Pages about tokenizers: a sweep of sizes, and a comparison, in the style of the run's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from langraft.core.io import write_atomic
from langraft.report.charts import Chart, Line, Mark, line_chart

Rows = Sequence[Sequence[str]]


def write_sweep(found: Mapping[str, Any], columns: Sequence[str], rows: Rows, page: Path) -> None:
    """The page of a sweep: curves by size, the table, the recommendation.

    Args:
        found: rows (size, new_rate, old_rate, rarest, flops, ...), size, reason.
        columns, rows: the table, as text.

    Raises:
        RunFailed: the page cannot be written.
    """
    measured = found["rows"]
    marks = [Mark(f"{found['size']:,}", found["size"])] if found["size"] else []
    charts = [
        line_chart(
            "Tokens per character",
            "pieces added",
            [
                Line("new language", [(r["size"], r["new_rate"]) for r in measured], "new", True),
                Line("old language", [(r["size"], r["old_rate"]) for r in measured], "old", True),
            ],
            marks=marks,
        ),
        line_chart(
            "Training operations on the same text",
            "pieces added",
            [Line("FLOPs", [(r["size"], r["flops"]) for r in measured], "graft", True)],
            marks=marks,
        ),
        line_chart(
            "Sightings of the rarest piece in the budget",
            "pieces added",
            [Line("times", [(r["size"], r["rarest"]) for r in measured[1:]], "base", True)],
            marks=marks,
        )
        if len(measured) > 1
        else None,
    ]
    headline = f"Add {found['size']:,} pieces" if found["size"] else "Keep the base vocabulary"
    _write(page, headline, found["reason"], [c for c in charts if c], columns, rows)


def write_comparison(
    columns: Sequence[str], rows: Rows, found: Sequence[Mapping[str, Any]], page: Path
) -> None:
    """The page of a comparison: tokens per character by vocabulary, and the table."""
    points = sorted((row["size"], row["tokens_per_character"]) for row in found)
    chart = line_chart(
        "Tokens per character by vocabulary",
        "pieces",
        [Line("tokenizers", points, "new", True)],
    )
    lede = "Fewer tokens per character are better. Special tokens are not counted."
    _write(page, "Tokenizers compared", lede, [chart], columns, rows)


def _write(
    page: Path, title: str, lede: str, charts: Sequence[Chart], columns: Sequence[str], rows: Rows
) -> None:
    here = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=here, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    style, _, _ = here.get_source(environment, "page.css")
    html = environment.get_template("vocabulary.html").render(
        style=Markup(style), title=title, lede=lede, charts=charts, columns=columns, rows=rows
    )
    write_atomic(page, html)
