"""A corpus on the terminal: what each step did to each source, and what its documents look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from langraft.core.messages import table
from langraft.corpus.evaluate import DROPPED

SNIPPET = 200  # characters


def show_corpus(report: Mapping[str, Any]) -> RenderableType:
    """What `evaluate_corpus` returned, for the terminal: documents by step and by source, drops by
    reason, samples.
    """
    sources = report["sources"]
    parts: list[RenderableType] = [_waterfall(report["steps"]), _sources(report["folder"], sources)]
    if any(counts["dropped"] for counts in sources.values()):
        parts.append(_reasons(sources, report["dropped"]))
    parts.append(Text("\nSamples", style="bold"))
    parts.extend(_sample(sample["id"], sample["after"][:SNIPPET]) for sample in report["samples"])
    return Group(*parts)


def _waterfall(steps: Iterable[Mapping[str, Any]]) -> Table:
    rows = []
    for step in steps:
        dropped = sorted(step.get("dropped", {}).items(), key=lambda item: -item[1])
        why = ", ".join(f"{reason} {count:,}" for reason, count in dropped if count)
        size = f"{step['bytes'] / 1e6:,.1f}" if "bytes" in step else ""
        rows.append([step["step"], f"{step['documents']:,}", size, why])
    return table("Step by step", ["step", "documents left", "MB", "dropped"], rows)


def _sources(folder: str, sources: Mapping[str, Any]) -> Table:
    columns = [
        "source",
        "language",
        "bucket",
        "read",
        "malformed",
        "by rules",
        "duplicates",
        "train",
        "hold-out",
    ]
    rows = [
        [
            name,
            counts["language"],
            counts["bucket"],
            f"{counts['read']:,}",
            f"{counts['malformed']:,}",
            f"{sum(counts['dropped'].values()):,}",
            f"{counts['duplicates']:,}",
            f"{counts['train_documents']:,} ({counts['train_bytes'] / 1e6:,.2f} MB)",
            f"{counts['holdout_documents']:,} ({counts['holdout_bytes'] / 1e6:,.2f} MB)",
        ]
        for name, counts in sources.items()
    ]
    return table(f"Documents in {folder}", columns, rows)


def _reasons(sources: Mapping[str, Any], examples: Iterable[Mapping[str, Any]]) -> Table:
    first = {(e["source"], e["reason"]): e for e in reversed(list(examples))}
    rows = []
    for name, counts in sources.items():
        for reason, count in counts["dropped"].items():
            example = first.get((name, reason), {})
            measured = (
                f"{example['value']:.3g} (limit {example['limit']:.3g})"
                if "value" in example and "limit" in example
                else ""
            )
            rows.append([name, reason, f"{count:,}", measured, example.get("place", "")])
    return table(
        f"Dropped by rules; examples in {DROPPED}",
        ["source", "reason", "documents", "first", "where"],
        rows,
    )


def _sample(name: str, text: str) -> Text:
    return Text.assemble((f"  {name}  ", "dim"), text.replace("\n", " "))
