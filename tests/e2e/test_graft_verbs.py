"""Grafting, longer contexts and bits by position from the command line; `init: auto` in a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_run import results, run
from transformers import AutoModelForCausalLM
from verbs import answer, langraft

FEW = ("positions=900", "depth=1", "steps=4", "batch_tokens=300", "output_positions=900")
FEW = (*FEW, "output_steps=6", "output_batch=128", "old_positions=300")
SETS = [part for setting in FEW for part in ("--set", setting)]


def test_starts_are_scored_and_the_best_is_written(small: Path, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "grafted"
    inits = ("subtoken-mean", "zeros", "weighted/fit", "distil")
    found = answer(
        *("graft", small / "base", done / "tokenizer", "--out", out, "--max-bytes", 2_000),
        *("--text", small / "zh.jsonl", "--old-text", small / "en.jsonl"),
        *(part for init in inits for part in ("--init", init)),
        *SETS,
    )
    scores = [row["bits"]["new"] for row in found["starts"]]
    assert {row["start"] for row in found["starts"]} == set(inits)
    assert found["method"] == found["starts"][0]["start"]
    kept = [
        row for row in found["starts"] if row["bits"]["old"] <= 1.01 * found["base_bits"]["old"]
    ]
    assert found["starts"][: len(kept)] == kept
    assert scores[: len(kept)] == sorted(scores[: len(kept)])
    assert not list(tmp_path.glob("grafted.work*"))
    note = json.loads((out / "langraft.json").read_text(encoding="utf-8"))
    assert note["method"] == found["method"]
    base, model = (AutoModelForCausalLM.from_pretrained(f) for f in (small / "base", out))
    assert (model.config.tie_word_embeddings, found["untied"]) == (False, True)
    old = base.get_input_embeddings().weight
    for matrix in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert torch.equal(matrix[:600], old)


def test_what_a_start_lacks_is_named(small: Path, done: Path, tmp_path: Path) -> None:
    base, extended, out = small / "base", done / "tokenizer", tmp_path / "none"
    for options, message in (
        (("--init", "distil"), "learns from text"),
        (("--init", "align"), "bilingual word list"),
        (("--init", "median"), "no init method"),
        (("--score",), "needs text in the new language"),
        (("--init", "mean/zeros", "--tie"), "one row a piece"),
        (("--set", "step=3"), "keys are positions"),
    ):
        found = langraft("graft", base, extended, "--out", out, *options)
        assert found.returncode == 2, found.stderr
        assert message in " ".join(found.stderr.split())
        assert not out.exists()


def test_a_run_chooses_its_start(small: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "auto"
    sets = ("graft.init=auto", "graft.candidates=[subtoken-mean, weighted, mean/fit]")
    found = run(small, root, out, "--until", "graft", *[p for s in sets for p in ("--set", s)])
    assert found.returncode == 0, found.stderr
    graft = results(out, "graft")
    assert sorted(row["start"] for row in graft["starts"]) == [
        "mean/fit",
        "subtoken-mean",
        "weighted",
    ]
    assert graft["method"] == graft["starts"][0]["start"]
    assert {"zh", "en"} == set(graft["judged_base"])
    assert not {"starts", "states"} & {path.name for path in (out / "graft").iterdir()}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "mean/fit" in page
    assert f"{graft['starts'][-1]['bits']['zh']:.3f}" in page


def test_a_longer_context(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "long"
    found = answer("context", small / "base", "--method", "ntk", "--length", 2_048, "--out", out)
    assert found["max_position_embeddings"] == 2_048
    theta = found["rope_parameters"]["rope_theta"]
    assert theta == pytest.approx(10_000 * 3 ** (16 / 14))
    bad = langraft("context", out, "--method", "yarn", "--length", 2_048, "--out", tmp_path / "x")
    assert bad.returncode == 2
    assert "more than the 2048 tokens" in " ".join(bad.stderr.split())


def test_bits_by_position(small: Path) -> None:
    options = ("--text", small / "en.jsonl", "--window", 200, "--spans", 4, "--texts", 3)
    found = answer("eval", "bits", small / "base", *options, "--positions")
    assert [span["first"] for span in found["positions"]] == [1, 50, 100, 150]
    assert found["texts"] == 3
    assert all(0 < span["bits_per_byte"] < 20 for span in found["positions"])
