"""The recipes of instruction tuning and feedback run whole on a tiny base."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import build_small, results
from tokenizer_bases import sentencepiece_base
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)
from verbs import answer

from langraft.tokenizer.encoder import load_encoder

ROOT = Path(__file__).parents[2]
SMALL = {"row_tokens": 256, "batch_tokens": 512, "micro_rows": 1, "evaluate": 1, "epochs": 1}
SFT = [f"sft.{key}={value}" for key, value in SMALL.items()] + ["sft.holdout=0.1"]
TEXT = ("第一条", "第二条", "红烧牛肉", "the cell", "法律", "water")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, conversations, preferences, and a SentencePiece base with random weights."""
    folder = tmp_path_factory.mktemp("tuning")
    build_small(folder, ROOT)
    (folder / "llama").mkdir()
    base = sentencepiece_base(folder / "llama")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    rows = load_encoder(base).size
    config = LlamaConfig(**sizes, **heads, vocab_size=rows, max_position_embeddings=1024)
    LlamaForCausalLM(config).save_pretrained(base)
    talks = [
        {"instruction": f"{TEXT[n % 6]} {n}", "input": "", "output": f"{TEXT[(n + 1) % 6]}。"}
        for n in range(40)
    ]
    (folder / "talks.json").write_text(json.dumps(talks, ensure_ascii=False), encoding="utf-8")
    pairs = [talk | {"chosen": talk["output"], "rejected": "？"} for talk in talks]
    lines = [json.dumps({k: p[k] for k in ("instruction", "chosen", "rejected")}) for p in pairs]
    (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def run(name: str, tiny: Path, out: Path, *more: str) -> None:
    sets = [f"base={tiny / 'llama'}", f"sft.data=[{tiny / 'talks.json'}]", *SFT, *more]
    sets += ["hardware.precision=fp32", "hardware.threads=1"]
    command = [sys.executable, "-m", "langraft", "run", str(ROOT / f"recipes/{name}.yaml")]
    command += ["--out", str(out), *(part for s in sets for part in ("--set", s))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["chinese-alpaca-2-7b", "llama2-7b-chinese-50w-lora"])
def test_lora_recipes(name: str, tiny: Path, tmp_path: Path) -> None:
    run(name, tiny, tmp_path)
    found = results(tmp_path, "sft")
    assert found["train"] == "lora" and found["data"][0]["conversations"] == 40
    assert found["held_out_loss"]["after"] < found["held_out_loss"]["before"]
    assert (tmp_path / "sft" / "adapter" / "adapter_config.json").exists()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "sft")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "问"}], tokenize=False)
    assert text.startswith("<s>") and text.endswith(("问 [/INST]", "问\n\n"))


def test_data_verbs(tiny: Path, tmp_path: Path) -> None:
    shown = answer(
        "data", "show", tiny / "talks.json", "--model", tiny / "llama", "--template", "ziya"
    )
    assert shown["conversations"] == shown["samples"] == 40 and shown["unfit"] == 0
    assert [learnt for _, learnt in shown["pieces"]] == [False, True]
    assert shown["pieces"][1][0].endswith("</s>")
    best = tmp_path / "best.jsonl"
    files = [tiny / "talks.json", "--rule", "whole-sentence", "--out", best]
    scored = answer("data", "score", *files)
    assert scored["means"][str(tiny / "talks.json")] == {"whole-sentence": 1.0}
    assert len(best.read_text().splitlines()) == 40


def test_one_stage_alone(tiny: Path, tmp_path: Path) -> None:
    sets = [f"base={tiny / 'llama'}", f"sft.data=[{tiny / 'talks.json'}]", *SFT]
    sets += ["hardware.precision=fp32", "hardware.threads=1"]
    recipe = ROOT / "recipes/chinese-alpaca-2-7b.yaml"
    options = ["--stage", "sft", "--out", tmp_path]
    found = answer("train", recipe, *options, *(p for s in sets for p in ("--set", s)))
    assert found["train"] == "lora" and (tmp_path / "sft" / "model.safetensors").exists()


def test_ziya_in_three_stages(tiny: Path, tmp_path: Path) -> None:
    pairs, talks = tiny / "pairs.jsonl", tiny / "talks.json"
    pretrain = {"tokens": 1024, "batch_tokens": 512, "row_tokens": 128, "evaluate": 1}
    align = [f"align.0.data=[{pairs}]", "align.0.pairs=8", "align.0.longest=128"]
    small = {"iterations": 2, "questions": 4, "new_tokens": 8, "longest": 256}
    align += [f"align.1.data=[{talks}]", *(f"align.1.{k}={v}" for k, v in small.items())]
    run(
        "ziya-llama-13b-v1",
        tiny,
        tmp_path,
        *(f"pretrain.0.{key}={value}" for key, value in pretrain.items()),
        *(f"corpus.sources.{n}.paths=[{tiny / lang}.jsonl]" for n, lang in enumerate(("zh", "en"))),
        *("corpus.holdout.bytes=20000", "tokenizer.size=60", "eval.max_bytes=2000", *align),
    )
    assert list(results(tmp_path, "sft")["mix"]) == ["level-1", "level-2", "level-3"]
    assert results(tmp_path, "align-reward")["held_out"]["accuracy"] is not None
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "align-reward")
    ppo = results(tmp_path, "align-ppo")
    assert ppo["steps"] == 16 and ppo["kl_coefficient"] != 0.05
    assert json.loads((tmp_path / "align-ppo" / "config.json").read_text())["vocab_size"] % 128 == 0
