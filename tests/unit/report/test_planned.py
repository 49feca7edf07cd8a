"""The plan beside what was measured, on the page of a run."""

from __future__ import annotations

import json
from pathlib import Path

from sample_run import build_run

from langraft.report import write_report
from langraft.report.planned import planned
from langraft.report.run import read_run

PLAN = {
    "devices": 1,
    "device": {"title": "CPU, 2 cores"},
    "stages": [
        {
            "name": name,
            "memory": {"total": 2e9},
            "hours": {"usual": seconds / 3600, "good": seconds / 7200, "poor": seconds / 1800},
        }
        for name, seconds in (("rows", 50), ("replay", 200), ("never-trained", 9))
    ],
}


def planned_run(folder: Path) -> Path:
    run = build_run(folder)
    (run / "plan.json").write_text(json.dumps(PLAN))
    manifest = json.loads((run / "pretrain-rows/manifest.json").read_text())
    (run / "pretrain-rows/manifest.json").write_text(json.dumps(manifest | {"peak_memory": 3e9}))
    record = {"stage": "pretrain-replay", "step": 61, "tokens": 1, "memory_gb": 1.5}
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(record) + "\n")
    return run


def test_memory_and_time_with_their_ratios(tmp_path: Path) -> None:
    found = planned(read_run(planned_run(tmp_path / "run")))
    assert found is not None and found.device == "1 × CPU, 2 cores"
    rows, replay = found.stages  # the third was planned and never trained
    assert rows.memory == ("2.0 GB", "3.0 GB", "1.50")
    assert replay.memory == ("2.0 GB", "1.5 GB", "0.75")  # a GPU's own memory counts
    times = [tuple(text.replace("\xa0", " ") for text in stage.time) for stage in found.stages]
    assert times[0] == ("50 s (25 s to 1 min 40 s)", "1 min 0 s", "1.20")  # 20,480 / 341.2
    assert times[1][1:] == ("3 min 48 s", "1.14")  # 61,440 / 268.9


def test_it_stands_on_the_page_only_with_a_plan(tmp_path: Path) -> None:
    page = write_report(planned_run(tmp_path / "run")).read_text(encoding="utf-8")
    assert "The plan against what came" in page and "1 × CPU, 2 cores" in page
    page = write_report(build_run(tmp_path / "other")).read_text(encoding="utf-8")
    assert "The plan against what came" not in page


def test_memory_that_nobody_measured_is_left_blank(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    (run / "plan.json").write_text(json.dumps(PLAN))
    found = planned(read_run(run))
    assert found is not None and found.stages[0].memory == ("2.0 GB", "", "")
