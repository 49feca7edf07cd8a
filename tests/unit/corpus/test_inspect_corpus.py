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
from langraft.corpus.inspect import inspect_corpus, show_corpus
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
    report = inspect_corpus(built)
    assert report["sources"]["books"]["read"] == 22
    first = [document.text[:200] for document in read_documents(built / "train/books.jsonl.zst")][
        :3
    ]
    assert [sample["text"] for sample in report["samples"]["books"]] == first
    assert [example["reason"] for example in report["dropped"]] == [
        "malformed",
        "min_tokens",
        "duplicate",
    ]
    assert json.loads(json.dumps(report)) == report


def test_the_page_shows_every_step(built: Path) -> None:
    report = inspect_corpus(built)
    console = Console(width=160)
    with console.capture() as shown:
        console.print(show_corpus(report))
    text = shown.get()
    row = next(line for line in text.splitlines() if line.startswith("│ books") and "prose" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["books", "zh", "prose", "22", "1", "1", "1", "18 (0.02 MB)", "2 (0.00 MB)"]
    assert "min_tokens" in text and "1 (limit 50)" in text and "a.jsonl:21" in text
    assert report["samples"]["books"][0]["text"][:40] in text


def test_text_is_not_taken_for_markup(built: Path) -> None:
    report = inspect_corpus(built)
    report["samples"]["books"] = [{"id": "x", "text": "[bold]粗体[/nothing]"}]
    console = Console(width=160)
    with console.capture() as shown:
        console.print(show_corpus(report))
    assert "[bold]粗体[/nothing]" in shown.get()


def test_a_folder_without_a_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no corpus \(counts\.json is missing\)"):
        inspect_corpus(tmp_path)
