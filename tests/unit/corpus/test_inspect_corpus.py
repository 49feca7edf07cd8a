"""What a person sees of a corpus is what was counted."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from rich.console import Console

from langraft.core.errors import BadInput
from langraft.corpus.build import build_corpus
from langraft.corpus.documents import read_documents
from langraft.corpus.evaluate import RepeatedLines, evaluate_corpus, histogram
from langraft.corpus.inspect import show_corpus
from langraft.recipe import Corpus


@pytest.fixture
def built(tmp_path: Path) -> Path:
    draw = random.Random(1)
    texts = [
        "".join(draw.choices([chr(n) for n in range(0x4E00, 0x5E00)], k=300)) for _ in range(20)
    ]
    lines = [json.dumps({"text": text}) + "\n" for text in [*texts, "短", texts[0]]]
    (tmp_path / "a.jsonl").write_text("".join(lines) + "{\n")
    source = {"name": "books", "paths": ["a.jsonl"], "language": "zh", "bucket": "prose"}
    settings = {"sources": [source], "rules": "zh", "holdout": {"bytes": 1_000}}
    build_corpus(Corpus.model_validate(settings), "zh", tmp_path, tmp_path / "corpus")
    return tmp_path / "corpus"


def test_the_report_holds_counts_samples_and_examples(built: Path) -> None:
    report = evaluate_corpus(built)
    assert report["sources"]["books"]["read"] == 22
    left = {step["step"]: step["documents"] for step in report["steps"]}
    assert (left["read"], left["rules"], left["exact"]) == (22, 21, 20)
    assert all(sample["before"] == sample["after"] for sample in report["samples"])
    lengths = report["histograms"][0]
    assert (lengths["edges"], lengths["counts"]) == ([256.0, 512.0], [18])
    assert report["languages"] == {"zh": 18}
    assert [example["reason"] for example in report["dropped"]] == [
        "malformed",
        "min_tokens",
        "duplicate",
    ]
    assert json.loads(json.dumps(report)) == report


def test_the_page_shows_every_step(built: Path) -> None:
    report = evaluate_corpus(built)
    console = Console(width=160)
    with console.capture() as shown:
        console.print(show_corpus(report))
    text = shown.get()
    row = next(line for line in text.splitlines() if line.startswith("│ books") and "prose" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["books", "zh", "prose", "22", "1", "1", "1", "18 (0.02 MB)", "2 (0.00 MB)"]
    assert "min_tokens" in text and "1 (limit 50)" in text and "a.jsonl:21" in text
    assert report["samples"][0]["after"][:40] in text


def test_text_is_not_taken_for_markup(built: Path) -> None:
    report = evaluate_corpus(built)
    report["samples"] = [{"id": "x", "after": "[bold]粗体[/nothing]"}]
    console = Console(width=160)
    with console.capture() as shown:
        console.print(show_corpus(report))
    assert "[bold]粗体[/nothing]" in shown.get()


def test_a_folder_without_a_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no corpus \(counts\.json is missing\)"):
        evaluate_corpus(tmp_path)


def test_a_corpus_with_totals_only_is_shown_too(built: Path) -> None:
    """Without steps and samples: the waterfall from the totals, the first documents as samples."""
    counts = json.loads((built / "counts.json").read_text())
    del counts["steps"]
    (built / "counts.json").write_text(json.dumps(counts))
    (built / "samples.jsonl").unlink()
    report = evaluate_corpus(built)
    assert [(step["step"], step["documents"]) for step in report["steps"]] == [
        ("read", 22),
        ("rules", 21),
        ("duplicates", 20),
        ("near the hold-out", 20),
        ("hold-out", 18),
    ]
    first = [document.text for document in read_documents(built / "train/books.jsonl.zst")][:2]
    assert [sample["after"] for sample in report["samples"]] == first


def test_tokens_are_counted_by_source(built: Path) -> None:
    report = evaluate_corpus(built, lambda texts: [len(text) for text in texts])
    looked = report["looked_at"]["books"]
    assert looked["tokens"] == 18 * 300 and looked["bytes"] == 3 * 18 * 300
    assert evaluate_corpus(built, most_bytes=1)["looked_at"]["books"]["documents"] == 1


def test_optional_parts_are_shown_where_they_are(built: Path) -> None:
    parts = {
        "samples.jsonl": [{"source": "books", "id": "a", "before": "ＡＢ", "after": "AB"}],
        "clusters.jsonl": [
            {"size": 2, "kept": "小", "dropped": ["少"]},
            {"size": 9, "kept": "大", "dropped": ["太"]},
        ],
        "contamination.jsonl": [
            {"suite": "cmmlu", "item": "1", "document": "x", "share": 1.0, "text": "题"},
            {"suite": "cmmlu", "item": "2", "document": "x", "share": 1.0, "text": "题"},
        ],
    }
    for name, rows in parts.items():
        (built / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = evaluate_corpus(built)
    assert report["samples"] == parts["samples.jsonl"]
    assert [cluster["size"] for cluster in report["cluster_examples"]] == [9, 2]
    assert report["contamination"]["suites"] == {"cmmlu": {"items": 2, "documents": 1}}
    (built / "clusters.jsonl").write_text("{")
    with pytest.raises(BadInput, match=r"clusters\.jsonl: not JSON lines"):
        evaluate_corpus(built)


def test_histograms_count_every_value() -> None:
    linear = histogram("t", "u", [0.0, 0.5, 1.0, 1.0])
    assert sum(linear.counts) == 4 and linear.counts[-1] == 2 and linear.edges[-1] == 1.0
    powers = histogram("t", "u", [1, 2, 3, 4, 9], logarithmic=True)
    assert (powers.edges, powers.counts) == ([1, 2, 4, 8, 16], [1, 2, 1, 1])
    assert histogram("t", "u", [7.0]).counts[0] == 1


def test_repeated_lines_are_ranked_and_memory_is_bounded() -> None:
    lines = RepeatedLines(most=50)
    for number in range(300):
        lines.add(f"版权所有，不得转载，违者必究\n第{number}篇独一无二的文章内容\n短行\n短行")
        if number % 3 == 0:
            lines.add("另一行重复的内容在这里\n另一行重复的内容在这里")
    assert [(top["line"], top["documents"]) for top in lines.top(5)] == [
        ("版权所有，不得转载，违者必究", 300),
        ("另一行重复的内容在这里", 100),
    ]
    assert len(lines._counts) <= 51
