"""A folder as a reader has it, made small: texts of a few kilobytes, a tiny random model under the
name of the real one. Pages' blocks are run in it, in this process, word for word.
"""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard
from docs_blocks import ROOT, Block
from docs_commands import langraft_words, make_lines
from random_adapter import trained_adapter
from small_run import build_small, records
from tiny_llama import TEMPLATE
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from langraft.cli import app
from langraft.core.errors import BadInput
from langraft.corpus.readers import read_texts

NAMED = "smollm2-135m"
# Names that pages use for "your model", "your base".
MODELS = (NAMED, f"recipes/{NAMED}", "BASE", "MODEL", "smollm2", "step-900", "step-1000")
MODELS = (*MODELS, "english", "chinese", "llama2", "llama2-chat", "llama2-zh")
SMALL_DISTIL = (
    "{positions: 1500, depth: 1, steps: 6, batch_tokens: 500, output_steps: 10, "
    "output_positions: 1500, output_batch: 256, old_positions: 0}"
)
SMALL_SFT = {"row_tokens": 256, "batch_tokens": 512, "micro_rows": 1, "holdout": 0.1, "evaluate": 1}
SMALL_STAGE = {"tokens": 2048, "batch_tokens": 512, "row_tokens": 128, "micro_rows": 2}


def build_sandbox(folder: Path) -> Path:
    """Write the folder that every page's own copy is made of."""
    build_small(folder, ROOT)
    base = (folder / "base").rename(folder / NAMED)
    (base / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    for name in MODELS[1:]:
        (folder / name).symlink_to(base.resolve())
    for name in ("zh", "en"):
        _pack(folder / f"{name}.jsonl", folder / f"data/quickstart/{name}.jsonl.zst")
        _pack(folder / f"{name}.jsonl", folder / f"{name}.jsonl.zst")
        shutil.copy(folder / f"{name}.jsonl", folder / f"{name}-held.jsonl")
    russian = folder / "ru.jsonl"
    texts = [r.text[:3000] for r in read_texts(ROOT / "data/russian/ru.jsonl.zst", "text")]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts[:60]]
    russian.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _pack(russian, folder / "data/russian/ru.jsonl.zst")
    shutil.copy(ROOT / "recipes/colossal-llama-2-7b.yaml", folder / "recipe.yaml")
    for recipe in ("my.yaml", "my-recipe.yaml", "RECIPE"):
        text = (folder / "recipes/quickstart-zh.yaml").read_text(encoding="utf-8")
        (folder / recipe).write_text(text.replace("../data", "data"), encoding="utf-8")
    english = "\n".join(r["text"] for r in records(folder / "en.jsonl"))
    (folder / "book.txt").write_text((3 * english)[:60_000], encoding="utf-8")
    (folder / "zh.txt").write_text(records(folder / "zh.jsonl")[0]["text"], encoding="utf-8")
    talks = [
        {"instruction": f"What is {n} and {n}?", "input": "", "output": f"It is {2 * n}."}
        for n in range(320)
    ]
    for name in ("my.json", "oaast_sft_zh.json"):
        (folder / name).write_text(json.dumps(talks), encoding="utf-8")
    lines = [json.dumps(talk) for talk in talks]
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    for name in ("wiki-sw", "wiki-en"):
        (folder / f"{name}.jsonl.zst").symlink_to(folder / "en.jsonl.zst")
    (folder / "contracts").mkdir()
    (folder / "contracts/one.txt").write_text("合同自签字之日起生效。", encoding="utf-8")
    model = AutoModelForCausalLM.from_pretrained(base)
    trained_adapter(model, folder / "adapter", target_modules=["q_proj", "v_proj"])
    (folder / "tests").symlink_to(ROOT / "tests")
    return folder


def _pack(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(zstandard.compress(source.read_bytes()))


def small_settings(recipe: Path) -> list[str]:
    """What makes a recipe small, and nothing that it is about."""
    tree: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    sections = {
        "corpus": ["corpus.holdout.bytes=8000"],
        "tokenizer": ["tokenizer.size=120"],
        "graft": [f"graft.distil={SMALL_DISTIL}"],
        "sft": [f"sft.{key}={value}" for key, value in SMALL_SFT.items()],
        "eval": ["eval.max_bytes=2000", "eval.window=128"],
    }
    found = ["hardware.precision=fp32", "hardware.frozen=fp32", "hardware.threads=1"]
    found += [line for name, lines in sections.items() if tree.get(name) for line in lines]
    for index, _ in enumerate(tree.get("pretrain") or ()):
        found += [f"pretrain.{index}.{key}={value}" for key, value in SMALL_STAGE.items()]
    return found


class Sandbox:
    """One reader's folder, and what happens in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[str] = []

    def run_block(self, block: Block) -> None:
        """Write what the block is to be written into, then run its commands.

        Raises:
            AssertionError: a command did not end well; with all that it said.
        """
        if name := block.notes.get("file"):
            (self.folder / name).write_text(block.text, encoding="utf-8")
        typed = "".join(f"{part.strip()}\n" for part in block.notes.get("typed", "").split(" | "))
        steps = [(line, fails) for words, fails in block.steps for line in _expanded(words)]
        for number, (words, fails) in enumerate(steps, 1):
            own = langraft_words(words)
            if own is None:
                self._own(words, block.place)
                continue
            code, told = self._langraft(own, typed if number == len(steps) else "")
            taken = {1, 2} if fails else {0, 1} if "check" in own else {0}  # proofs may fail
            assert code in taken, f"{block.place}: {words}\n{told}"

    def _langraft(self, words: list[str], typed: str) -> tuple[int, str]:
        if words[0] == "run":
            small = small_settings(self.folder / words[1])
            words = [*words, *(part for one in small for part in ("--set", one))]
        if words[0] not in ("run", "train") and "--out" in words:
            self._make_room(self.folder / words[words.index("--out") + 1])
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            result = CliRunner().invoke(app, words, input=typed)
        finally:
            os.chdir(before)
        told = "".join(traceback.format_exception(*result.exc_info)) if result.exc_info else ""
        if isinstance(result.exception, BadInput) and "pip install" in str(result.exception):
            pytest.skip(f"not installed: {result.exception}")
        self.ran.append(" ".join(words))
        code = getattr(result.exception, "exit_code", result.exit_code)
        return code, told

    def _make_room(self, place: Path) -> None:
        """What another page left behind, or was given, under the same name."""
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)

    def _own(self, words: Sequence[str], place: str) -> None:
        """A few programs of every machine."""
        if words[0] == "cp":
            for source in words[1:-1]:
                shutil.copy(self.folder / source, self.folder / words[-1])
        elif words[:2] == ["mkdir", "-p"]:
            (self.folder / words[2]).mkdir(parents=True, exist_ok=True)
        elif words != [".", ".venv/bin/activate"]:
            raise AssertionError(f"{place}: mark it as not run, nothing here runs {words}")


def _expanded(words: list[str]) -> list[list[str]]:
    """What a `make` target runs of langraft itself; any other command as it is."""
    if words[0] != "make":
        return [words]
    return [line for line in make_lines(words) if langraft_words(line) and "pip" not in line]
