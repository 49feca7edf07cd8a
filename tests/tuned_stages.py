"""A small base with conversations and preferences, and all stages of tuning on it, on any number of
ranks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chat_bases import byte_level_tokenizer
from random_llama import random_llama

from langraft.core.manifest import run_stage
from langraft.core.messages import console
from langraft.pipeline import Run, stage_of
from langraft.recipe import Recipe

DIGITS = "一二三四五六七八"
SFT = {
    "data": ["talks.json"],
    "template": "llama2-zh",
    "row_tokens": 96,
    "batch_tokens": 192,
    "lr": 3e-3,
    "holdout": 0.2,
    "prompts": ["第一个"],
}
PAIRS: dict[str, Any] = {"data": "pairs.jsonl", "template": "ziya", "pairs": 8, "longest": 64}
ANSWERS: dict[str, Any] = {
    "data": ["talks.json"],
    "template": "ziya",
    "iterations": 2,
    "questions": 4,
    "group": 2,
    "passes": 2,
    "new_tokens": 6,
    "lr": 3e-3,
    "rules": {"repetition": 1.0, "ended": 1.0},
}
LORA: dict[str, Any] = {"train": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.0}}
STAGES: list[dict[str, Any]] = [
    {"method": "reward", **PAIRS, "lr": 1e-2},
    {"method": "dpo", **PAIRS, "lr": 1e-3, "holdout": 0.3, "prompts": ["第一个"]},
    {"method": "ppo", **ANSWERS, "reward": "reward", "critic": "own", "answers_at_once": 2},
    {"method": "grpo", **ANSWERS, **LORA},
]


def small_base(folder: Path) -> Path:
    """A base with a tokenizer, 48 conversations and 40 pairs, in `folder`."""
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    random_llama(len(tokenizer), 32, 2, tied=True).save_pretrained(folder / "base")
    talks = [
        {"instruction": f"第{DIGITS[n % 8]}个", "output": "好" * (1 + n % 5), "grade": n % 3}
        for n in range(48)
    ]
    (folder / "talks.json").write_text(json.dumps(talks, ensure_ascii=False))
    pairs = [
        {"instruction": f"第{DIGITS[n % 8]}{n}", "chosen": "好的好的", "rejected": "不"}
        for n in range(40)
    ]
    text = "\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)
    (folder / "pairs.jsonl").write_text(text)
    return folder


def run_all(out: Path, small: Path, offload: str = "none") -> None:
    """What a rank does, or the only process: every stage, one after the other."""
    hardware = {"precision": "fp32", "offload": offload, "threads": 1}
    tree = {"name": "small", "base": str(small / "base"), "hardware": hardware}
    recipe = Recipe.model_validate(tree | {"sft": SFT, "align": STAGES})
    console.quiet = True
    this = Run(recipe, small, out)
    ranks = this.ranks
    for name in this.stages():
        run_stage(out, stage_of(this, name), lead=ranks.lead, wait=ranks.wait)
    this.leave()
    console.quiet = False
