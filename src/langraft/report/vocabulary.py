"""Pages about tokenizers: a sweep of sizes, and a comparison, in the style of the run's report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.core.io import write_atomic
from langraft.report.charts import Chart, Guide, Line, Mark, line_chart
from langraft.report.templates import fill

Rows = Sequence[Sequence[str]]


def write_sweep(found: Mapping[str, Any], columns: Sequence[str], rows: Rows, page: Path) -> None:
    """The page of a sweep: curves by size, the table, the recommendation.

    Args:
        found: rows (size, new_rate, old_rate, rarest, flops, ...), size, reason.
        columns, rows: the table, as text.

    Raises:
        RunFailed: the page cannot be written.
    """
    headline = f"Add {found['size']:,} pieces" if found["size"] else "Keep the base vocabulary"
    reason = found["reason"].partition(": ")[2]
    write_table_page(
        page, headline, reason[:1].upper() + reason[1:], sweep_charts(found), columns, rows
    )


def sweep_charts(found: Mapping[str, Any]) -> list[Chart]:
    """Tokens per character, training operations and sightings of the rarest piece, by size.

    Args:
        found: rows (size, new_rate, old_rate, rarest, flops_saved, ...) and the size taken.
    """
    measured = found["rows"]
    marks = [Mark(f"{found['size']:,}", found["size"])] if found["size"] else []
    seen = [(r["size"], math.log10(r["rarest"])) for r in measured if r["rarest"] > 0]
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
            "Training operations, base vocabulary = 1",
            "pieces added",
            [Line("FLOPs", [(r["size"], 1 - r["flops_saved"]) for r in measured], "graft", True)],
            marks=marks,
        ),
        line_chart(
            "Sightings of the rarest piece, powers of ten",
            "pieces added",
            [Line("in the budget", seen, "ink", True)],
            guides=[Guide("100 times", 2, "limit")],
            marks=marks,
        )
        if seen
        else None,
    ]
    return [chart for chart in charts if chart]


def write_comparison(
    columns: Sequence[str], rows: Rows, found: Sequence[Mapping[str, Any]], page: Path
) -> None:
    """The page of a comparison: a bar of tokens per character for each tokenizer, and the table.

    Args:
        columns, rows: the table, as text; the tokenizer's name first.
        found: what `compare` gives, in the order of the rows.
        page: the file to write.

    Raises:
        RunFailed: the page cannot be written.
    """
    rates = [row["tokens_per_character"] for row in found]
    most = max(rates) or 1.0
    bars = [
        (name, f"{rate:.3f}", round(100 * rate / most, 1))
        for (name, *_), rate in zip(rows, rates, strict=True)
    ]
    lede = "Fewer tokens per character are better. Special tokens are not counted."
    write_table_page(page, "Tokenizers compared", lede, [], columns, rows, bars)


def write_table_page(
    page: Path,
    title: str,
    lede: str,
    charts: Sequence[Chart],
    columns: Sequence[str],
    rows: Rows,
    bars: Sequence[tuple[str, str, float]] = (),
    *,
    what: str = "tokenizer",
) -> None:
    """Write a page of charts above one table, `what` above its title.

    Raises:
        RunFailed: the page cannot be written.
    """
    html = fill(
        "vocabulary.html",
        title=title,
        lede=lede,
        charts=charts,
        columns=columns,
        rows=rows,
        bars=bars,
        what=what,
    )
    write_atomic(page, html)
