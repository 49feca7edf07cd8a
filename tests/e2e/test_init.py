"""The first ten minutes: `langraft init` at a terminal and with options, then the run itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from small_run import build_small, results
from verbs import answer, langraft

from langraft.recipe import load_recipe


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A tiny base beside a folder of text in two languages."""
    folder = tmp_path_factory.mktemp("desk")
    build_small(folder, root)
    (folder / "data").mkdir()
    for name in ("zh", "en"):
        shutil.copy(folder / f"{name}.jsonl", folder / "data" / f"{name}.jsonl")
    return folder


def test_at_a_terminal(desk: Path, root: Path) -> None:
    """Questions are asked again until they can be answered."""
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "langraft", "init", "--out", "asked.yaml"],
        cwd=str(desk),
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        encoding="utf-8",
        timeout=90,
        dimensions=(40, 200),
    )
    for question, typed in (
        ("Language to teach", "chinesse"),
        (r"did you mean zh \(chinese\)", None),
        ("Language to teach", "Chinese"),
        ("Base: ", "base"),
        ("Folder of text", "nowhere"),
        ("no such folder", None),
        ("Folder of text", "data"),
        ("Hardware", ""),
        ("Goal", "try"),
        ("written", None),
        ("then: langraft run asked.yaml", None),
    ):
        terminal.expect(question)
        if typed is not None:
            terminal.sendline(typed)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    recipe = load_recipe(desk / "asked.yaml")
    assert recipe.base == "base" and recipe.language and recipe.language.code == "zh"
    assert recipe.hardware.devices == "cpu" and len(recipe.pretrain) == 1


def test_with_options_then_a_run(desk: Path, tmp_path: Path) -> None:
    """What is written runs: only the fitting of rows, made for a real base, is made shorter."""
    out = desk / "told.yaml"
    answers = ("--language", "zh", "--base", desk / "base", "--data", desk / "data")
    told = answer("init", *answers, "--hardware", "cpu", "--goal", "try", "--out", out)
    assert told["stages"] == ["knowledge"] and told["tokens_per_character"] > 1.5
    again = langraft("init", *answers, "--hardware", "cpu", "--goal", "try", "--out", out)
    assert again.returncode == 2 and "overwrites nothing" in again.stderr
    distil = "{positions: 1500, depth: 1, steps: 6, output_positions: 1500, output_steps: 10}"
    sets = ("--set", f"graft.distil={distil}", "--set", "hardware.threads=1")
    command = [sys.executable, "-m", "langraft", "run", str(out), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, *sets], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert results(tmp_path / "run", "tokenizer")["added_pieces"] > 60
    trained = results(tmp_path / "run", "pretrain-knowledge")
    assert trained["tokens"] == load_recipe(out).pretrain[0].tokens
    assert json.loads((tmp_path / "run/eval/manifest.json").read_text())["results"]["bits"]


def test_without_a_terminal(desk: Path) -> None:
    found = langraft("init", "--language", "zh")
    assert found.returncode == 2
    assert "give --base, --data, --hardware, --goal as well" in " ".join(found.stderr.split())
    help_ = " ".join(langraft("init", "--help").stdout.replace("│", " ").split())
    assert "langraft init --language ru" in help_
