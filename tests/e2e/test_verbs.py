"""The verbs beside `run`, on the finished small run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_run import records, results, run
from transformers import AutoModelForCausalLM
from verbs import answer, langraft


def test_bits_agree_with_the_run(done: Path) -> None:
    text = done / "corpus/holdout/zh.jsonl.zst"
    model = done / "pretrain-adapt"
    found = answer("eval", "bits", model, "--text", text, "--max-bytes", 3000)
    expected = results(done, "eval")["bits"]["adapted"]["zh"]
    # the verb computes in bfloat16 where the processor can, the small run in float32
    assert found["bits_per_byte"] == pytest.approx(expected, rel=0.01)


def test_the_contract_holds_and_a_broken_one_is_shown(
    small: Path, done: Path, tmp_path: Path
) -> None:
    english, chinese = small / "en.jsonl", done / "corpus/holdout/zh.jsonl.zst"
    base, extended = small / "base", done / "tokenizer"
    good = answer("tokenizer", "check", base, extended, "--old", english, "--new", chinese)
    assert all(proof["passed"] for proof in good["proofs"])
    broken = tmp_path / "broken"
    shutil.copytree(extended, broken)
    content = json.loads((broken / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["merges"][0], content["model"]["merges"][200] = (
        content["model"]["merges"][200],
        content["model"]["merges"][0],
    )
    (broken / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    bad = langraft("tokenizer", "check", base, broken, "--old", english)
    assert bad.returncode == 1
    assert "counter-example" in bad.stderr


def test_extend_compare_and_graft(small: Path, tmp_path: Path) -> None:
    extended, grafted = tmp_path / "extended", tmp_path / "grafted"
    texts = ("--text", small / "zh.jsonl")
    made = answer("tokenizer", "extend", small / "base", *texts, "--size", 50, "--out", extended)
    assert (made["base_pieces"], made["added_pieces"]) == (600, 50)
    rows = answer("tokenizer", "compare", small / "base", extended, *texts)["tokenizers"]
    assert rows[0]["tokens"] > 1.3 * rows[1]["tokens"]
    assert answer("graft", small / "base", extended, "--out", grafted)["rows"] == 704
    base = AutoModelForCausalLM.from_pretrained(small / "base")
    model = AutoModelForCausalLM.from_pretrained(grafted)
    old, new = (m.get_input_embeddings().weight for m in (base, model))
    assert new.shape == (704, 64)
    assert torch.equal(old, new[:600])
    assert model.config.tie_word_embeddings is True


def test_corpus_verbs(small: Path, root: Path, tmp_path: Path) -> None:
    recipe, out = root / "recipes/quickstart-zh.yaml", tmp_path / "corpus"
    sets = [f"corpus.sources.{i}.paths=[{small / n}.jsonl]" for i, n in enumerate(("zh", "en"))]
    sets.append("corpus.holdout.bytes=20000")
    built = answer(
        "corpus", "build", recipe, "--out", out, *[a for s in sets for a in ("--set", s)]
    )
    assert built["sources"]["zh"]["read"] == 120
    assert "Step by step" in (out / "corpus.html").read_text(encoding="utf-8")
    derived = answer("corpus", "thresholds", "--text", small / "zh.jsonl", "--script", "Han")
    assert derived["documents"] == 120 and derived["thresholds"]["min_script_share"] > 0.5
    seen = langraft("corpus", "inspect", out)
    assert seen.returncode == 0
    assert "120" in seen.stdout


def test_twin_and_a_single_stage(small: Path, root: Path, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "twin"
    shutil.copytree(done, out)
    found = run(small, root, out, "--twin", "--json")
    assert found.returncode == 0, found.stderr
    bits = json.loads(found.stdout.splitlines()[-1])["bits"]
    assert bits["adapted"] == results(done, "eval")["bits"]["adapted"]
    assert bits["twin"]["zh"] < bits["base"]["zh"]
    assert bits["twin"]["zh"] != bits["adapted"]["zh"]
    assert any(record["stage"] == "twin-adapt" for record in records(out / "metrics.jsonl"))


def test_a_kept_vocabulary_runs_too(small: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    found = run(small, root, out, "--set", "tokenizer.method=keep", "--json")
    assert found.returncode == 0, found.stderr
    evaluated = json.loads(found.stdout.splitlines()[-1])
    assert evaluated["bits"]["grafted"] == evaluated["bits"]["base"]
    assert evaluated["bits"]["adapted"]["zh"] < evaluated["bits"]["base"]["zh"]
    assert results(out, "graft")["untied"] is False


def test_a_stage_whose_input_is_missing_says_so(root: Path, tmp_path: Path) -> None:
    recipe = root / "recipes/quickstart-zh.yaml"
    found = langraft("train", recipe, "--stage", "adapt", "--out", tmp_path / "none")
    assert found.returncode == 2
    assert "not done yet" in " ".join(found.stderr.split())
    found = langraft("train", recipe, "--stage", "wrong", "--out", tmp_path / "none")
    assert found.returncode == 2
    assert "adapt" in found.stderr


@pytest.mark.parametrize("verb", ["run", "train", "graft", "chat", "report", "corpus build"])
def test_help_has_an_example(verb: str) -> None:
    found = langraft(*verb.split(), "--help")
    assert found.returncode == 0
    assert f"langraft {verb}" in " ".join(found.stdout.replace("│", " ").split())
