"""Every suite of the material under every protocol that knows it, with a small random model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from exams import reader
from typer.testing import CliRunner

from langraft.cli import app
from langraft.evals.ledger import read_results
from langraft.evals.protocols import PROTOCOLS, fitting
from langraft.evals.suite import evaluate
from langraft.evals.suites import load_exam

ARCHIVE = "benchmarks/benchmarks_dev.tar.zst"
SAMPLES = "benchmarks/format_samples"
# A suite, its data, the subjects it holds there, and how many are asked.
HELD = {
    "mmlu": (ARCHIVE, 57, 2),
    "cmmlu": (ARCHIVE, 67, 2),
    "ceval": (ARCHIVE, 52, 2),
    "agieval": (f"{SAMPLES}/agieval", 21, 21),
    "gaokao": (f"{SAMPLES}/gaokao-bench", 14, 14),
    "c3": (ARCHIVE, 2, 2),
    "fewclue": (ARCHIVE, 6, 2),
    "gsm8k": (ARCHIVE, 1, 1),
    "cmrc2018": (ARCHIVE, 1, 1),
    "xquad": (ARCHIVE, 2, 2),
}
PROTOCOLS_OF = {
    **{key: {"colossal", "colossal-2023", "lm-eval", "generate"} for key in ("mmlu", "gsm8k")},
    **{key: set(PROTOCOLS) for key in ("cmmlu", "ceval", "c3", "fewclue")},
    **{key: {"colossal", "colossal-2023", "generate"} for key in ("agieval", "gaokao")},
    **{key: {"generate"} for key in ("cmrc2018", "xquad")},
}


@pytest.mark.parametrize("suite", HELD)
def test_every_suite_is_scored_under_every_protocol_that_applies(
    material: Path, tmp_path: Path, suite: str
) -> None:
    data, subjects, asked = HELD[suite]
    exam = load_exam(suite, data, material, limit=1)
    assert len(exam.subjects) == subjects
    exam = dataclasses.replace(exam, subjects=exam.subjects[:asked])
    assert set(fitting(suite)) == PROTOCOLS_OF[suite]
    for protocol in fitting(suite):
        found = evaluate(reader(), exam, protocol, tmp_path / protocol)
        lines = list(read_results(tmp_path / protocol))
        assert len(lines) == found.main.count == asked
        assert all(0 <= line["score"] <= 1 for line in lines)
        assert found.main.value == pytest.approx(sum(x["score"] for x in lines) / asked)
        assert found.card["protocol"] == protocol
        letters = PROTOCOLS[protocol].rule in ("max", "sum") and suite not in ("gsm8k",)
        if letters and suite in ("mmlu", "cmmlu", "ceval", "c3"):
            assert {line["picked"] for line in lines} <= set("ABCD")
            assert set(found.card["letter ids"]) >= set("AB")


def asked_at_once(model: Path, material: Path, *options: str) -> list[dict[str, Any]]:
    places = ("--data", str(material / ARCHIVE), "--data", str(material / SAMPLES))
    command = ["eval", "choice", str(model), *places, "--limit", "1", *options, "--json"]
    found = CliRunner().invoke(app, command, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return list(json.loads(found.stdout.splitlines()[-1])["evaluations"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_suites_under_all_protocols_are_one_command(
    small: Path, material: Path, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path / "out"), "--shots", "0")
    found = asked_at_once(small / "base", material, "--suite", "all", "--protocol", "all", *out)
    pairs = {(one["card"]["suite"], one["card"]["protocol"]) for one in found}
    assert pairs == {(suite, name) for suite, names in PROTOCOLS_OF.items() for name in names}
    asked = {one["card"]["suite"]: one["card"]["questions"] for one in found}
    assert asked["mmlu"] == 57
    assert asked["agieval"] <= 21


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_published_table_is_one_command(small: Path, material: Path, tmp_path: Path) -> None:
    """As the page on evaluation writes it, the window apart: five suites in their usual shots."""
    suites = ("mmlu", "cmmlu", "agieval", "gaokao", "ceval")
    named = [part for suite in suites for part in ("--suite", suite)]
    rest = ("--protocol", "colossal-2023", "--choices", "4", "--out", str(tmp_path / "out"))
    found = asked_at_once(small / "base", material, *named, *rest)
    assert [one["card"]["suite"] for one in found] == list(suites)
    assert [one["card"]["shots"] for one in found] == [5, 5, 5, 0, 5]
    assert [one["card"]["questions"] for one in found][:2] == [57, 67]
    assert not any(one["left_out"] for one in found if one["card"]["suite"] != "gaokao")
