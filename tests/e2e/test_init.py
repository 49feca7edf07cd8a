"""The first ten minutes: `langraft init` at a terminal and with options."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pexpect
import pytest
from small_run import build_small
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


def test_with_options(desk: Path) -> None:
    """What is written runs: the notebook's test does that."""
    out = desk / "told.yaml"
    answers = ("--language", "zh", "--base", desk / "base", "--data", desk / "data")
    told = answer("init", *answers, "--hardware", "cpu", "--goal", "try", "--out", out)
    assert told["stages"] == ["knowledge"] and told["tokens_per_character"] > 1.5
    again = langraft("init", *answers, "--hardware", "cpu", "--goal", "try", "--out", out)
    assert again.returncode == 2 and "overwrites nothing" in again.stderr


def test_without_a_terminal(desk: Path) -> None:
    found = langraft("init", "--language", "zh")
    assert found.returncode == 2
    assert "give --base, --data, --hardware, --goal as well" in " ".join(found.stderr.split())
    help_ = " ".join(langraft("init", "--help").stdout.replace("│", " ").split())
    assert "langraft init --language ru" in help_
