"""The page's part on instruction tuning and feedback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langraft.report import write_report
from langraft.report.run import read_run
from langraft.report.tuned import tuned

RECIPE = """\
name: chat
base: smollm2-135m
sft: {data: [a.json]}
align:
  - {method: reward, name: reward, data: [p.jsonl]}
  - {method: ppo, name: polish, data: [q.json], rules: {ended: 1.0}}
"""
SAMPLE = {"prompt": "问<b>", "before": "no", "after": "好"}


def stage(folder: Path, name: str, **results: Any) -> None:
    (folder / name).mkdir()
    manifest = {"stage": name, "results": results, "inputs": {}, "outputs": {}, "seconds": 1.0}
    (folder / name / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    start = {"kl": 0.0, "answer_tokens": 60.0, "same_language": 0.5, "ended": 0.0}
    end = {"kl": 3.5, "answer_tokens": 20.0, "same_language": 1.0, "ended": 1.0}
    records = [
        {"stage": "align-polish", "step": n, "reward": n / 40, "kl": n / 10, "answer_tokens": 40.0}
        for n in range(1, 21)
    ]
    records += [{"stage": "sft", "step": n, "loss": 3.0 - n / 10} for n in range(1, 6)]
    records += [{"stage": "sft", "step": 5, "answers": end, "held_out_loss": 2.6}]
    records += [
        {"stage": "align-reward", "step": n, "held_out": {"accuracy": 0.5 + n / 10}} for n in (1, 2)
    ]
    lines = [json.dumps({"tokens": 1, **record}) for record in records]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    stage(tmp_path, "sft", samples=[SAMPLE], answers={"before": start, "after": end})
    stage(tmp_path, "align-reward", held_out={"accuracy": 0.7, "length_accuracy": 0.9})
    stage(tmp_path, "align-polish", reward={"first": 0.1, "last": 0.5})
    return tmp_path


def test_every_stage_has_its_curves_in_the_order_of_the_recipe(run: Path) -> None:
    found = tuned(read_run(run))
    assert [one.stage for one in found] == ["sft", "align-reward", "align-polish"]
    titles = [{chart.title.split(",")[0] for chart in one.charts} for one in found]
    moved = "Divergence from the model that the stage began with"
    length, language = "Tokens of an answer", "Answers in the language of the question"
    assert titles[0] == {"Loss", moved, length, language, "Answers that the model ended itself"}
    assert titles[1] == {"Pairs ranked right"}
    assert titles[2] == {"Reward", moved, length}
    assert found[0].samples == [("问<b>", "no", "好")]
    assert found[1].figures == [("accuracy", "0.700"), ("length accuracy", "0.900")]
    assert found[2].figures == [("reward", "0.100 → 0.500")]


def test_fixed_questions_begin_with_the_first_models_answers(run: Path) -> None:
    (chart,) = [c for c in tuned(read_run(run))[0].charts if c.title == "Tokens of an answer"]
    assert "60.000 at 0" in chart.svg and "20.000 at 5" in chart.svg


def test_it_stands_on_the_page_escaped(run: Path) -> None:
    page = write_report(run).read_text()
    assert "Instruction tuning and feedback" in page and "align-polish" in page
    assert "问&lt;b&gt;" in page and "问<b>" not in page
    assert page.index(">sft<") < page.index(">align-reward<") < page.index(">align-polish<")


def test_a_run_without_such_stages_says_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: plain\n")
    assert tuned(read_run(tmp_path)) == []
    assert "Instruction tuning" not in write_report(tmp_path).read_text()
