"""The corpus page shows what was found, loads nothing, and takes no text for markup."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from test_report import Tree

from langraft.report.bars import bar_chart
from langraft.report.corpus import render, steps, write_corpus_page

FOUND: dict[str, Any] = {
    "folder": "runs/x/corpus",
    "sources": {
        "books": {
            "language": "zh",
            "read": 100,
            "train_documents": 60,
            "train_bytes": 3_000_000,
            "holdout_bytes": 200_000,
        },
        "wiki": {"language": "en", "read": 50, "train_documents": 40, "train_bytes": 1_000_000},
    },
    "looked_at": {
        "books": {"documents": 30, "bytes": 1_500_000, "tokens": 500_000},
        "wiki": {"documents": 40, "bytes": 1_000_000, "tokens": 250_000},
    },
    "steps": [
        {"step": "read", "documents": 150, "bytes": 9_000_000, "dropped": {}},
        {
            "step": "rules",
            "documents": 120,
            "bytes": 6_000_000,
            "seconds": 2.5,
            "dropped": {"min_tokens": 25, "max_digit_share": 5},
            "changed": {"text": 7},
        },
    ],
    "histograms": [
        {
            "title": "Length",
            "unit": "characters a document",
            "edges": [64.0, 128.0, 256.0],
            "counts": [75, 25],
            "logarithmic": True,
        }
    ],
    "languages": {"zh": 60, "en": 40},
    "mixed": {"en+zh": 3},
    "grades": {"high": 30, "medium": 30},
    "clusters": {"2": 5, "3": 1},
    "repeated_lines": [{"line": "版权<b>所有", "documents": 12}],
    "samples": [{"source": "books", "id": "a:1", "before": "ＡＢ", "after": "AB"}],
    "cluster_examples": [{"size": 3, "kept": "留下的", "dropped": ["去掉的"]}],
    "contamination": {
        "suites": {"cmmlu": {"items": 4, "documents": 2}},
        "examples": [{"suite": "cmmlu", "item": "9", "document": "b:7", "text": "题目"}],
    },
    "dropped": [
        {
            "source": "books",
            "reason": "min_tokens",
            "place": "a:3",
            "value": 4,
            "limit": 20,
            "snippet": "短",
        },
        {"source": "books", "reason": "malformed", "place": "a:5: not JSON"},
        {
            "source": "books",
            "step": "redact",
            "reason": "email",
            "changed": True,
            "snippet": "<email>",
        },
    ],
}


def test_every_part_is_on_the_page(tmp_path: Path) -> None:
    page = write_corpus_page(FOUND, tmp_path / "corpus.html").read_text()
    text = Tree(page).text
    assert "150 documents read from 2 sources; 100 are left to train on, 4.0 MB of text" in text
    assert "750,000 tokens of them counted" in text
    assert "120 documents, 6.0 MB, 2.5\N{NO-BREAK SPACE}s, 30 dropped" in text
    assert "dropped: min tokens 25, max digit share 5" in text and "changed: text 7" in text
    # twice as much text as was looked at: a million tokens; 80 % of all
    assert "1,000,000" in text and "80.0 %" in text and "3.00" in text
    assert "64 to 128: 75" in page and "English 40 (40.0 %)" in text and "en+zh 3" in text
    assert "版权<b>所有" in text and "版权&lt;b&gt;所有" in page
    assert (
        "ＡＢ" in text and "去掉的" in text and "min tokens" in text and "a:3: 4, limit 20" in text
    )
    assert text.index("What was changed") < text.index("redact: email") < text.index("<email>")
    assert "cmmlu" in text and "2 alike 5" in text and "high 30 (50.0 %)" in text


def test_the_page_loads_nothing_and_is_the_same_every_time(tmp_path: Path) -> None:
    page = render(FOUND)
    tree = Tree(page)
    assert not tree.open and "<script" not in page and "default-src 'none'" in page
    assert not re.search(r"\b(src|href)=", page)
    assert page == render(copy.deepcopy(FOUND))


def test_a_corpus_without_optional_parts_has_a_page() -> None:
    bare = {
        **FOUND,
        **{name: [] for name in ("histograms", "repeated_lines", "samples", "cluster_examples")},
        **{name: {} for name in ("mixed", "grades", "clusters")},
        "contamination": {"suites": {}, "examples": []},
        "dropped": [],
        "looked_at": {
            name: {"documents": 1, "bytes": 9, "tokens": 0} for name in ("books", "wiki")
        },
    }
    text = Tree(render(bare)).text
    assert "Near-duplicates" not in text and "bytes a token" not in text


def test_the_waterfall_adds_up() -> None:
    first, second = steps(FOUND["steps"])
    assert (first.share, first.lost, first.lost_share) == (100.0, 0, 0.0)
    assert (second.share, second.lost, second.lost_share) == (80.0, 30, 20.0)
    assert (first.bytes_share, second.bytes_share) == (100.0, 66.67)
    assert steps([]) == []


def test_bars_are_as_high_as_their_counts() -> None:
    chart = bar_chart("Length", "characters", [0, 1, 2], [50, 100])
    heights = [float(h) for h in re.findall(r'class="bin".*?height="([\d.]+)"', str(chart.svg))]
    assert heights[1] == pytest.approx(2 * heights[0], rel=1e-2)
    with pytest.raises(ValueError, match="2 bins need as many edges and one"):
        bar_chart("Length", "characters", [0, 1], [1, 2])
