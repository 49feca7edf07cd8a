"""`metrics.jsonl`: one JSON object a line, append-only, cut back to a step when a killed run goes
on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from langraft.core.io import disk_errors, write_atomic


class MetricsLog:
    """Appends records `{"stage", "step", ...}` to one file shared by all stages of a run."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path = path
        self._stage = stage

    def write(self, step: int, **values: Any) -> None:
        """Append one record and hand it to the operating system at once."""
        line = json.dumps({"stage": self._stage, "step": step, **values}, ensure_ascii=False)
        with disk_errors(self._path), self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def rewind(self, step: int) -> None:
        """Drop this stage's records after `step`, and a last line that a kill left unfinished."""
        kept = [
            r for r in read_metrics(self._path) if r["stage"] != self._stage or r["step"] <= step
        ]
        write_atomic(self._path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))

    def close(self) -> None:
        """Nothing more will be written; nothing waits here, but a tracker behind it may."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every complete record of a metrics file; empty when there is none yet."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:  # only the line that a kill cut short
            continue
    return records
