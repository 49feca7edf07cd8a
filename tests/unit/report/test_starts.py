"""The table of starts that a run tried."""

from __future__ import annotations

import copy
from pathlib import Path

from sample_run import RESULTS, build_run

from langraft.report import write_report
from langraft.report.run import read_run
from langraft.report.starts import starts_table

TRIED = {
    "judged_base": {"zh": 2.0, "en": 1.0},
    "starts": [
        {"start": "distil", "bits": {"zh": 2.25, "en": 1.001}, "seconds": 210.04},
        {"start": "<zeros>", "bits": {"zh": 7.5, "en": 1.0}, "seconds": 0.0},
    ],
}


def test_a_start_alone_has_its_zero_step_score(tmp_path: Path) -> None:
    run = read_run(build_run(tmp_path))
    names, rows = starts_table(run)
    assert names == ["zh", "en"]
    assert rows == [
        ("untouched base", ["1.941", "1.187"], ""),
        ("distil", ["2.272", "1.189"], "131.0"),
    ]
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert "nothing trained, on the hold-out" in page


def test_a_run_without_new_rows_has_no_table(tmp_path: Path) -> None:
    run = read_run(build_run(tmp_path, {"corpus": RESULTS["corpus"]}))
    assert starts_table(run) == ([], [])
    assert "zero-step score" not in write_report(run.folder).read_text(encoding="utf-8")


def test_the_table_is_on_the_page(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    results["graft"] |= TRIED
    run = read_run(build_run(tmp_path, results))
    names, rows = starts_table(run)
    assert names == ["zh", "en"]
    assert rows == [
        ("untouched base", ["2.000", "1.000"], ""),
        ("distil", ["2.250", "1.001"], "210.0"),
        ("<zeros>", ["7.500", "1.000"], "0.0"),
    ]
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert "&lt;zeros&gt;" in page
    assert "on training text that no start learnt from" in page
