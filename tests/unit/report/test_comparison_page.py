"""The comparison's page: what it says, that it is self-contained, and its chart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from langraft.report.comparison import write_comparison
from langraft.report.intervals import LEFT, RIGHT, WIDTH, Mean, Pair, interval_chart


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "count": 400}


def sample() -> dict[str, Any]:
    change = {"value": 0.04, "low": 0.01, "high": 0.07, "p": 0.02, "better": 40, "worse": 24}
    change["count"] = 400
    return {
        "base": "base",
        "model": "<b>model</b>",
        "new": "zh",
        "texts": [
            {
                "name": "laws",
                "language": "zh",
                "documents": 9,
                "bytes": 1000,
                "base": 1.9,
                "model": 1.5,
                "change": -0.21,
                "low": -0.25,
                "high": -0.17,
            }
        ],
        "suites": [
            {
                "suite": "cmmlu",
                "title": "CMMLU",
                "language": "zh",
                "card": {"protocol": "colossal", "shots": 5, "prompt": "题目：<script>"},
                "base": estimate(0.26),
                "model": estimate(0.30),
                "difference": change,
                "groups": [
                    {"group": "STEM", "base": estimate(0.2), "model": estimate(0.3), **change}
                ],
            }
        ],
        "verdicts": [{"good": True, "text": "laws: better"}, {"good": False, "text": "worse"}],
    }


def test_the_page_says_what_was_found_and_loads_nothing(tmp_path: Path) -> None:
    page = write_comparison(sample(), tmp_path / "c.html").read_text(encoding="utf-8")
    assert "1 of 2 measures went the wrong way" in page
    assert "<b>model</b>" not in page
    long = sample() | {"model": "/home/me/runs/zh/pretrain-adapt", "base": "owner/name"}
    named = write_comparison(long, tmp_path / "d.html").read_text(encoding="utf-8")
    assert "zh/pretrain-adapt against owner/name" in named
    assert "/home" not in named
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=", page)
    for text in ("26.00", "30.00", "+4.00", "0.020", "40 better, 24 worse of 400", "1.9000"):
        assert text in page
    assert page.count("<svg") == 2


def test_dots_stand_where_their_values_are() -> None:
    pairs = [Pair("one", {"base": Mean(20, 10, 30), "new": Mean(40, 35, 50)})]
    drawn = str(interval_chart("t", pairs, guide=0.0))
    places = [float(x) for x in re.findall(r'<circle class="dot \w+" cx="([\d.]+)"', drawn)]
    whole = WIDTH - LEFT - RIGHT
    assert places == [
        pytest.approx(LEFT + whole * 0.4, abs=0.1),
        pytest.approx(LEFT + whole * 0.8, abs=0.1),
    ]
    with pytest.raises(ValueError, match="has no rows"):
        interval_chart("t", [])
