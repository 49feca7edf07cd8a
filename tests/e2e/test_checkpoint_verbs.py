"""The verbs of checkpoints as a user types them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import poison, state_of, tuned, write_model
from random_adapter import ATTENTION, trained_adapter
from random_llama import random_llama
from tokenizer_bases import byte_level_base
from transformers import AutoModelForCausalLM

from langraft.checkpoint.folder import save_model
from langraft.cli import main

Verb = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs `langraft checkpoint ...`; its JSON answer and what it said on stderr."""

    def run(*words: object, code: int = 0) -> tuple[dict[str, Any], str]:
        capsys.readouterr()
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["langraft", "checkpoint", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert (left.value.code or 0) == code, printed.err
        lines = printed.out.splitlines()
        return (json.loads(lines[-1]) if lines and "--json" in words else {}), printed.err

    return run


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    write_model(folder / "base", random_llama())
    write_model(folder / "tuned", tuned(random_llama()))
    trained_adapter(random_llama(), folder / "adapter", target_modules=ATTENTION)
    return folder


def test_merge_and_info(verb: Verb, at: Path) -> None:
    found, said = verb(
        "merge", at / "base", "--adapter", at / "adapter", "--out", at / "merged", "--json"
    )
    assert found["evidence"] == ["names and shapes only"]
    assert "nothing in this adapter tells which weights it was trained on" in said
    AutoModelForCausalLM.from_pretrained(at / "merged")
    seen, _ = verb("info", at / "merged", "--json")
    assert seen["wrong"] == []
    assert len(seen["weights"]) == 64
    assert seen["made"]["by"] == "merge"
    _, said = verb(
        "merge", at / "base", "--adapter", at / "adapter", "--out", at / "merged", code=2
    )
    assert "merged: exists already" in said


def test_delta(verb: Verb, at: Path) -> None:
    made, _ = verb("delta-make", at / "base", at / "tuned", "--out", at / "delta", "--json")
    verb("delta-apply", at / "base", at / "delta", "--out", at / "again")
    seen, said = verb(
        "delta-verify", at / "delta", "--base", at / "base", "--result", at / "again", "--json"
    )
    assert "intact" in said
    assert {key: seen[key] for key in ("base", "delta", "result")} == {
        key: made[key] for key in ("base", "delta", "result")
    }
    _, said = verb("delta-apply", at / "again", at / "delta", "--out", at / "twice", code=2)
    assert "this delta is applied already" in said
    assert not (at / "twice").exists()


def test_sums(verb: Verb, at: Path) -> None:
    verb("average", at / "base", at / "tuned", "--weight", 1, "--weight", 3, "--out", at / "mean")
    verb("arithmetic", at / "base", "--plus", at / "tuned", "--minus", at / "base",
         "--scale", 0.75, "--out", at / "task")  # fmt: skip
    one, other = state_of(at / "mean"), state_of(at / "task")
    assert all((one[name] - other[name]).abs().max() < 1e-6 for name in one)
    _, said = verb("average", at / "base", at / "tuned", "--method", "x", "--out", at / "o", code=2)
    assert "'x' is not linear or slerp" in said


def test_convert_refuses_and_leaves_nothing(verb: Verb, at: Path) -> None:
    write_model(at / "broken", random_llama())
    poison(at / "broken")
    _, said = verb("convert", at / "broken", "--out", at / "converted", code=2)
    assert "holds NaN or infinite values" in said
    assert not list(at.glob("converted*"))


def test_a_probe_refuses_a_merge_that_spends_more_bits(verb: Verb, tmp_path: Path) -> None:
    model = random_llama(vocab=2_500)
    save_model(model, tmp_path / "base")
    byte_level_base(tmp_path / "base", "gpt2")
    (tmp_path / "text.txt").write_text(
        "The water flows down to the sea, and the sea is wide. " * 20
    )
    probe = ("--probe", tmp_path / "text.txt", "--out", tmp_path / "out")
    small = {"target_modules": ["q_proj"], "lora_alpha": 0.1}
    trained_adapter(model, tmp_path / "right", **small)
    trained_adapter(model, tmp_path / "wrong", target_modules=["lm_head"], lora_alpha=4_000)
    _, said = verb("merge", tmp_path / "base", "--adapter", tmp_path / "wrong", *probe, code=2)
    assert "the adapter was trained on another base" in said
    assert not list(tmp_path.glob("out*"))
    _, said = verb("merge", tmp_path / "base", "--adapter", tmp_path / "right", *probe)
    assert "bits per byte before" in said
    assert (tmp_path / "out" / "model.safetensors").exists()
