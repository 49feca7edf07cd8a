"""The whole quickstart recipe on a tiny random LLaMA: numbers, skipping, killing, refusing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from small_run import command, digests, records, results, run
from transformers import AutoModelForCausalLM, AutoTokenizer

from langraft.corpus.documents import read_documents


def test_every_stage_leaves_its_numbers(done: Path) -> None:
    tokenizer, graft = results(done, "tokenizer"), results(done, "graft")
    adapt, evaluated = results(done, "pretrain-adapt"), results(done, "eval")
    assert (tokenizer["base_pieces"], tokenizer["added_pieces"], tokenizer["rows"]) == (
        600,
        120,
        768,
    )
    assert all(proof["passed"] for proof in tokenizer["proofs"])
    assert tokenizer["proofs"][0]["checked"] > 500
    ratio = tokenizer["tokens_per_character"]
    assert ratio["zh"]["base"] / ratio["zh"]["extended"] > 1.5
    assert ratio["en"]["base"] == ratio["en"]["extended"]
    assert graft["positions"] >= 3000
    assert graft["output_rows"]["loss_last"] < graft["output_rows"]["loss_first"]
    assert adapt["steps"] == 16
    assert adapt["tokens"] == 8192
    assert adapt["loss_last"] < adapt["loss_first"]
    assert adapt["mix"] == {"zh": 0.5, "en": 0.5}
    bits = evaluated["bits"]
    assert bits["adapted"]["zh"] < bits["base"]["zh"]
    assert bits["adapted"]["en"] < bits["base"]["en"]
    assert [t["met"] for t in evaluated["targets"]] == [False, True, True]
    assert evaluated["samples"][0]["prompt"] == "第一条 为了"
    (suite,) = evaluated["suites"]
    assert (suite["suite"], suite["card"]["protocol"], suite["card"]["shots"]) == (
        *("csv", "colossal"),
        1,
    )
    assert suite["base"]["count"] == suite["adapted"]["count"] == 12
    assert len((done / "eval/suites/csv/base/questions-0.jsonl").read_text().splitlines()) == 12
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "your own csv" in page
    assert f"{100 * suite['adapted']['value']:.2f}" in page


def test_the_model_is_an_ordinary_folder(done: Path) -> None:
    folder = done / "pretrain-adapt"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.tie_word_embeddings is False
    assert model.lm_head.weight.shape == (768, 64)
    assert model.get_input_embeddings().weight.shape == (768, 64)
    ids = tokenizer("中华人民共和国", add_special_tokens=False).input_ids
    assert max(ids) >= 600
    assert tokenizer.decode(ids) == "中华人民共和国"
    assert {p.suffix for p in folder.iterdir()} <= {
        ".json",
        ".safetensors",
        ".jinja",
        ".txt",
        ".md",
    }


def test_training_and_holdout_share_no_document(done: Path) -> None:
    for source in ("zh", "en"):
        train = {d.text for d in read_documents(done / f"corpus/train/{source}.jsonl.zst")}
        held = {d.text for d in read_documents(done / f"corpus/holdout/{source}.jsonl.zst")}
        assert train
        assert held
        assert not train & held


def test_a_second_run_does_nothing_and_another_setting_redoes_what_depends_on_it(
    small: Path, root: Path, done: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.glob("*/manifest.json")}
    again = run(small, root, done)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done before") == 5
    assert {p: p.stat().st_mtime_ns for p in done.glob("*/manifest.json")} == before


def test_the_report_needs_no_network(done: Path) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "第一条 为了" in page
    assert 'src="http' not in page
    assert len(page) < 2_000_000


def test_the_plan_stands_beside_what_came(done: Path) -> None:
    plan = json.loads((done / "plan.json").read_text(encoding="utf-8"))
    assert plan["device"]["title"].startswith("CPU") and plan["devices"] == 1
    assert [stage["name"] for stage in plan["stages"]] == ["adapt"]
    held = json.loads((done / "pretrain-adapt/manifest.json").read_text(encoding="utf-8"))
    assert 1e8 < held["peak_memory"] < 8e9
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "The plan against what came" in page and "What became of the text" in page
    assert f"{held['peak_memory'] / 1e6:.1f} MB" in page or "GB</td>" in page


def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    small: Path, root: Path, done: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    moments = random.Random(5)
    for _ in range(6):
        process = subprocess.Popen(
            command(small, root, out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # mostly past the imports, somewhere in the stages
        time.sleep(moments.uniform(3.0, 9.0))
        with_group = process.poll() is None
        if with_group:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = run(small, root, out)
    assert result.returncode == 0, result.stderr
    assert digests(out) == digests(done)
    found, expected = records(out / "metrics.jsonl"), records(done / "metrics.jsonl")
    assert [(r["stage"], r["step"], r.get("loss"), r.get("bits")) for r in found] == [
        (r["stage"], r["step"], r.get("loss"), r.get("bits")) for r in expected
    ]


def test_two_runs_in_one_folder(small: Path, root: Path, done: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from langraft.core.manifest import run_lock
with run_lock(Path({str(done)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = run(small, root, done)
        holder.communicate("")
    assert refused.returncode == 1
    assert f"pid {holder.pid}" in refused.stderr.replace("\n", " ")


def test_a_wrong_key_is_named_with_its_line(small: Path, root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text(
        "name: wrong\ncorpus:\n  sources:\n    - {name: zh, path: [a], language: zh}\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "langraft", "run", str(recipe), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    message = " ".join(result.stderr.split())
    assert "wrong.yaml:4" in message
    assert "did you mean 'paths'" in message
