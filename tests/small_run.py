"""The whole quickstart recipe, made small: a tiny random LLaMA and slices of the texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langraft.corpus.readers import read_texts

SMALL = (
    "corpus.holdout.bytes=20000",
    "corpus.sources.0.paths=[DATA/zh.jsonl.zst]",
    "corpus.sources.1.paths=[DATA/en.jsonl.zst]",
    "tokenizer.size=120",
    "graft.distil={positions: 3000, depth: 1, steps: 12, batch_tokens: 500, output_steps: 20, "
    "output_positions: 3000, output_batch: 256, old_positions: 0}",
    "pretrain.0.tokens=8192",
    "pretrain.0.mix={zh: 0.5, en: 0.5}",
    "pretrain.0.lr=2e-3",
    "pretrain.0.evaluate=2",
    "pretrain.0.checkpoint_seconds=0.05",
    "eval.max_bytes=3000",
    "eval.prompts=[第一条 为了]",
    "eval.suites={csv: 1}",
    "eval.data=DATA/exam.csv",
    "forgetting.on_breach=warn",
    "hardware.precision=fp32",
    "hardware.threads=1",
)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def build_small(folder: Path, root: Path) -> None:
    """A tiny English model and a slice of the quickstart texts, written to `folder`."""
    for language, count in (("zh", 120), ("en", 60)):
        lines = []
        for record in read_texts(root / f"data/quickstart/{language}.jsonl.zst", "text"):
            lines.append(json.dumps({"text": record.text[:3000]}, ensure_ascii=False))
        (folder / f"{language}.jsonl").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    write_exam(folder / "exam.csv")
    english = [record["text"] for record in records(folder / "en.jsonl")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(english, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.save_pretrained(folder / "base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")


def write_exam(path: Path) -> None:
    """Twelve questions of one subject, and one worked example."""
    rows = [f"Which is the letter {n}?,a,b,c,d,{'ABCD'[n % 4]},letters,test" for n in range(12)]
    rows.append("Which is the first letter?,a,b,c,d,A,letters,dev")
    header = "question,A,B,C,D,answer,subject,split"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def command(small: Path, root: Path, out: Path, *more: str) -> list[str]:
    settings = [f"base={small / 'base'}"]
    settings += [s.replace("DATA", str(small)).replace(".jsonl.zst", ".jsonl") for s in SMALL]
    sets = [part for setting in settings for part in ("--set", setting)]
    recipe = str(root / "recipes/quickstart-zh.yaml")
    return [sys.executable, "-m", "langraft", "run", recipe, "--out", str(out), *sets, *more]


def run(*args: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), capture_output=True, text=True, check=False, timeout=240)


def results(out: Path, stage: str) -> dict[str, Any]:
    return json.loads((out / stage / "manifest.json").read_text(encoding="utf-8"))["results"]


def digests(out: Path) -> dict[str, dict[str, str]]:
    return {
        p.parent.name: json.loads(p.read_text(encoding="utf-8"))["outputs"]
        for p in sorted(out.glob("*/manifest.json"))
    }
