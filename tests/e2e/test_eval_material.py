"""Every suite of the material under every protocol that knows it, with a small random model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from exams import reader

from langraft.evals.ledger import read_results
from langraft.evals.protocols import PROTOCOLS, fitting
from langraft.evals.suite import evaluate
from langraft.evals.suites import load_exam

ARCHIVE = "benchmarks/benchmarks_dev.tar.zst"
# A suite, its data, the subjects it holds there, and how many are asked.
HELD = {
    "mmlu": (ARCHIVE, 57, 2),
    "cmmlu": (ARCHIVE, 67, 2),
    "ceval": (ARCHIVE, 52, 2),
    "agieval": ("benchmarks/format_samples/agieval", 21, 21),
    "gaokao": ("benchmarks/format_samples/gaokao-bench", 14, 14),
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
