"""The verbs that measure, on the finished small run; in this process, for they start slowly."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import records, results
from typer.testing import CliRunner

from langraft.cli import app
from langraft.core.errors import BadInput


def answer(*args: object) -> dict[str, Any]:
    found = CliRunner().invoke(app, [*map(str, args), "--json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return dict(json.loads(found.stdout.splitlines()[-1]))


def test_a_benchmark_is_scored_under_its_card_and_goes_on(
    small: Path, done: Path, tmp_path: Path
) -> None:
    asked = ("--suite", "csv", "--data", small / "exam.csv", "--shots", 1)
    found = answer("eval", "choice", small / "base", *asked, "--out", tmp_path / "out")
    assert (found["card"]["protocol"], found["card"]["questions"]) == ("colossal", 12)
    assert found["measures"]["accuracy"]["micro"]["count"] == 12
    lines = records(tmp_path / "out" / "questions-0.jsonl")
    right = sum(line["score"] for line in lines)
    assert found["measures"]["accuracy"]["micro"]["value"] == right / 12
    again = answer("eval", "choice", small / "base", *asked, "--out", tmp_path / "out")
    assert again == found
    # the run asked the same
    (suite,) = results(done, "eval")["suites"]
    assert suite["base"] == found["measures"]["accuracy"]["micro"]
    with pytest.raises(BadInput, match="holds results of another evaluation"):
        answer(
            *("eval", "choice", small / "base", *asked, "--protocol", "lm-eval"),
            *("--out", tmp_path / "out"),
        )


def test_several_suites_under_all_their_protocols_in_one_command(
    small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = answer(
        *("eval", "choice", small / "base", "--suite", "csv", "--suite", "csv-zh"),
        *("--data", small / "exam.csv", "--protocol", "all", "--limit", 2, "--out", out),
    )["evaluations"]
    cards = [(one["card"]["suite"], one["card"]["protocol"]) for one in found]
    english = ["colossal", "colossal-2023", "lm-eval", "generate"]
    chinese = ["chinese-llama", "chinese-llama-asis"]
    assert sorted(cards) == sorted(
        [*(("csv", name) for name in english), *(("csv-zh", name) for name in english + chinese)]
    )
    prompts = {one["card"]["suite"]: one["card"]["prompt"] for one in found}
    assert "\nAnswer:" in prompts["csv"]
    assert "\n答案：" in prompts["csv-zh"]
    for one, (suite, name) in zip(found, cards, strict=True):
        lines = records(out / f"{suite}-{name}" / "questions-0.jsonl")
        micro = one["measures"]["accuracy"]["micro"]
        assert micro["value"] == sum(line["score"] for line in lines) / micro["count"]


def test_all_suites_of_several_places_are_found_by_name(small: Path, tmp_path: Path) -> None:
    header, rows = "question,A,B,C,D,answer", "Which?,a,b,c,d,C\nWhat?,a,b,c,d,A"
    for name in ("one/ceval/val/law_val.csv", "two/cmmlu/test/law.csv", "two/notes/law.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"{header}\n{rows}\n", encoding="utf-8")
    asked = ("eval", "choice", small / "base", "--data", tmp_path / "one", "--shots", 0)
    asked = (*asked, "--out", tmp_path / "out", "--protocol", "lm-eval", "--data", tmp_path / "two")
    found = answer(*asked, "--suite", "all")["evaluations"]
    assert {one["card"]["suite"] for one in found} == {"ceval", "cmmlu"}
    with pytest.raises(BadInput, match=r"mmlu: not in .* which hold ceval, cmmlu$"):
        answer(*asked, "--suite", "mmlu")


def test_a_comparison_writes_its_page(
    small: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    page = tmp_path / "page.html"
    found = answer(
        *("eval", "compare", small / "base", done / "pretrain-adapt", "--new", "zh"),
        *("--text", f"zh={done / 'corpus/holdout/zh.jsonl.zst'}", "--max-bytes", 2000),
        *("--suite", "csv=1", "--data", small / "exam.csv", "--page", page),
    )
    (text,) = found["texts"]
    assert text["model"] < text["base"]
    assert text["low"] < text["change"] < text["high"] < 0
    assert found["suites"][0]["difference"]["count"] == 12
    assert f"{text['base']:.4f}" in page.read_text(encoding="utf-8")


def test_a_mismatch_is_explained_setting_by_setting(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = answer(
        *("eval", "mismatch", small / "base", "--suite", "csv", "--data", small / "exam.csv"),
        *("--published", 25, "--shots", 1),
    )
    said = {line["setting"] for line in found["settings"]}
    assert {"as claimed", "protocol lm-eval", "protocol colossal-2023"} <= said
    distances = [line["distance"] for line in found["settings"]]
    assert distances == sorted(distances)


def test_bits_source_by_source(small: Path, done: Path) -> None:
    files = [done / f"corpus/holdout/{name}.jsonl.zst" for name in ("zh", "en")]
    texts = [part for file in files for part in ("--text", file)]
    found = answer("eval", "bits", small / "base", *texts, "--max-bytes", 2000, "--by-source")[
        "sources"
    ]
    assert len(found) == 2
    alone = answer("eval", "bits", small / "base", *texts[:2], "--max-bytes", 2000)
    assert found[f"{files[0]}: "] == alone
    assert alone["perplexity"] > 1


@pytest.mark.slow
def test_two_processes_score_what_one_does(small: Path, tmp_path: Path) -> None:
    rows = [f"Which is the {k} {n}?,a,b,c,d,C,{k}" for k in ("letter", "number") for n in range(6)]
    exam = tmp_path / "exam.csv"
    exam.write_text("\n".join(["question,A,B,C,D,answer,subject", *rows]), encoding="utf-8")
    asked = ("--suite", "csv", "--data", exam, "--protocol", "lm-eval")
    alone = answer("eval", "choice", small / "base", *asked, "--out", tmp_path / "one")
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    verb = ("-m", "langraft", "eval", "choice", small / "base", *asked, "--out", tmp_path / "two")
    done = subprocess.run(
        [*map(str, (*command, *verb)), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    together = json.loads(said)  # only the first of them prints
    assert together["measures"] == alone["measures"]
    counts = [len(records(tmp_path / "two" / f"questions-{rank}.jsonl")) for rank in (0, 1)]
    assert counts == [6, 6]


def test_items_of_the_training_texts_are_told(small: Path, tmp_path: Path) -> None:
    with (small / "exam.csv").open(encoding="utf-8", newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row.get("split") != "dev")
    leaked = tmp_path / "corpus.txt"
    leaked.write_text(" ".join(row[key] for key in ("question", *"ABCD")), encoding="utf-8")
    found = answer(
        *("eval", "choice", small / "base", "--suite", "csv", "--data", small / "exam.csv"),
        *("--shots", 1, "--corpus", leaked, "--out", tmp_path / "out"),
    )["contamination"]
    assert found["of"] == 12
    assert len(found["items"]) >= 1
    assert found["clean"]["count"] == 12 - len(found["items"])
