"""The metrics file: appended, cut back, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from langraft.core.errors import RunFailed
from langraft.core.metrics import MetricsLog, read_metrics


def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    MetricsLog(path, "a").write(1, loss=2.5)
    MetricsLog(path, "b").write(1, bits={"zh": 1.0})
    assert read_metrics(path) == [
        {"stage": "a", "step": 1, "loss": 2.5},
        {"stage": "b", "step": 1, "bits": {"zh": 1.0}},
    ]


def test_rewind_cuts_one_stage_back_and_drops_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log, other = MetricsLog(path, "中"), MetricsLog(path, "b")
    for step in range(1, 5):
        log.write(step, loss=step / 2)
        other.write(step)
    with path.open("a") as stream:
        stream.write('{"stage": "b", "st')
    log.rewind(2)
    kept = [(r["stage"], r["step"]) for r in read_metrics(path)]
    assert kept == [("中", 1), ("b", 1), ("中", 2), ("b", 2), ("b", 3), ("b", 4)]
    assert path.read_text(encoding="utf-8").endswith("}\n")
    log.write(3, loss=9.0)
    assert read_metrics(path)[-1] == {"stage": "中", "step": 3, "loss": 9.0}


def test_rewind_to_the_start_of_a_new_file(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "metrics.jsonl", "a").rewind(0)
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_line_broken_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": "a", "step": 1}\n{"sta\n{"stage": "a", "step": 2}\n')
    assert [r["step"] for r in read_metrics(path)] == [1, 2]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = MetricsLog(tmp_path / "file" / "metrics.jsonl", "a")
    with pytest.raises(RunFailed, match="cannot write"):
        log.write(1)
