"""The starts of new rows that a run tried before any training, and what each one scored: the
zero-step scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langraft.report.run import Run


def starts_table(run: Run) -> tuple[list[str], list[tuple[str, list[str], str]]]:
    """Source names, and for the untouched base and every start its bits per byte by source and the
    seconds it took; empty when the run has no new rows.

    Where several starts were tried they were judged on training text; a start alone is scored on
    the hold-out.
    """
    found = run.results("graft")
    if not found.get("judged_base"):
        return _one_start(run, found)
    base = found["judged_base"]
    names = list(base)
    rows = [("untouched base", [f"{base[name]:.3f}" for name in names], "")]
    rows += [
        (row["start"], [f"{row['bits'][name]:.3f}" for name in names], f"{row['seconds']:.1f}")
        for row in found.get("starts", ())
    ]
    return names, rows


def _one_start(
    run: Run, found: Mapping[str, Any]
) -> tuple[list[str], list[tuple[str, list[str], str]]]:
    bits = found.get("bits") or {}
    base, grafted = bits.get("base") or {}, bits.get("grafted") or {}
    names = [name for name in base if name in grafted]
    if not names or "method" not in found:
        return [], []
    seconds = run.manifests["graft"].get("seconds")
    took = f"{seconds:.1f}" if seconds is not None else ""
    rows = [("untouched base", base, ""), (found["method"], grafted, took)]
    return names, [(start, [f"{b[name]:.3f}" for name in names], s) for start, b, s in rows]
