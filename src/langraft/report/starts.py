"""The starts of new rows that a run tried before any training, and what each one scored."""

from __future__ import annotations

from langraft.report.run import Run


def starts_table(run: Run) -> tuple[list[str], list[tuple[str, list[str], str]]]:
    """Source names, and for the untouched base and every start its bits per byte by source and the
    seconds it took; empty when the run tried none.
    """
    found = run.results("graft")
    base = found.get("judged_base") or {}
    if not base:
        return [], []
    names = list(base)
    rows = [("untouched base", [f"{base[name]:.3f}" for name in names], "")]
    rows += [
        (row["start"], [f"{row['bits'][name]:.3f}" for name in names], f"{row['seconds']:.1f}")
        for row in found.get("starts", ())
    ]
    return names, rows
