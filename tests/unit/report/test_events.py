"""What guard and meter did, in finished stages and in one that trains; gain against loss."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
from sample_run import RESULTS, build_run

from langraft.report import write_report
from langraft.report.curves import curves, gains, losses, pareto
from langraft.report.events import Event, events
from langraft.report.run import read_run

SKIPPED = {"step": 12, "event": "skipped", "reason": "loss 9.1 where 5.2 is usual (z 31)"}
BACK = {"step": 8, "event": "returned", "reason": "from step 12: loss is nan"}

CURVE_MARKS = ["back", "skip", "replay", "rates"]


def _run(folder: Path, *records: dict[str, object]) -> Path:
    results = copy.deepcopy(RESULTS)
    results["pretrain-rows"]["guard"] = [SKIPPED, BACK]
    run = build_run(folder, results)
    with (run / "metrics.jsonl").open("a") as stream:
        for record in records:
            stream.write(json.dumps({"stage": "pretrain-replay", "tokens": 1, **record}) + "\n")
    return run


def test_what_happened_stands_on_the_page(tmp_path: Path) -> None:
    breach = {"rise": 0.041, "source": "en"}
    run = _run(
        tmp_path / "run",
        {"step": 20, "forgetting": breach | {"replay": 0.45}},
        {"step": 40, "forgetting": breach | {"rates_times": 0.5}},
        {"step": 60, "forgetting": {"rise": 0.001, "source": "en"}},
        {"step": 33, "skipped": "grad_norm is inf"},  # the manifest of a finished stage counts
    )
    found = events(read_run(run))
    assert [(e.stage, e.step) for e in found] == [
        *(("rows", 8), ("rows", 12)),
        *(("replay", 20), ("replay", 40)),
    ]
    assert found[1] == Event("rows", 12, "step skipped", SKIPPED["reason"], "skip")
    assert found[2].what == "old languages now 45% of the mix"
    assert found[3].what == "all rates times 0.5"
    for chart in (curves(read_run(run))[0], losses(read_run(run))[-1]):
        marks = [text.partition("<")[0] for text in str(chart.svg).split('class="marktext"')[1:]]
        assert [mark.partition(">")[2] for mark in marks] == ["rows", "replay", *CURVE_MARKS]
    page = write_report(run).read_text(encoding="utf-8")
    assert "back to this step&#39;s checkpoint" in page
    assert "z 31" in page


def test_a_stage_that_still_trains_tells_it_from_the_log(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", {"step": 33, "skipped": "grad_norm is inf"})
    shutil.rmtree(run / "pretrain-replay")
    last = Event("replay", 33, "step skipped", "grad_norm is inf", "skip")
    assert events(read_run(run))[-1] == last


def test_gain_against_loss_of_every_evaluation(tmp_path: Path) -> None:
    run = read_run(_run(tmp_path / "run"))
    bits = RESULTS["eval"]["bits"]
    points = gains(run)
    assert len(points) == 1 + 4  # the grafted model, and every evaluation
    for name, point in (("grafted", points[0]), ("adapted", points[-1])):
        assert point[0] == pytest.approx(100 * (1 - bits[name]["zh"] / bits["base"]["zh"]))
        assert point[1] == pytest.approx(bits[name]["en"] / bits["base"]["en"] - 1)
    (chart,) = pareto(run)
    assert chart.svg.count("<circle") >= 5
    assert str(chart.title) in write_report(run.folder).read_text().replace("&#39;", "'")
