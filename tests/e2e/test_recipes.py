"""Every recipe: a plan takes it as it stands, and it runs whole on a tiny random base of its own
architecture.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_run import build_small, results
from tokenizer_bases import sentencepiece_base
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from verbs import answer

from langraft.tokenizer.encoder import load_encoder

ROOT = Path(__file__).parents[2]
RECIPES = {  # with the devices that a plan is asked for
    "quickstart-zh": ("rtx4090", 1),
    "smollm2-135m-zh": ("rtx3090", 1),
    "smollm2-135m-ru": ("rtx3090", 1),
    "qwen-or-llama3-zh": ("h100", 1),
    "chinese-llama-2-7b": ("a100-40g", 8),
    "colossal-llama-2-7b": ("a800-80g", 64),
    "chinese-alpaca-2-7b": ("a100-40g", 8),
    "llama2-7b-chinese-50w-lora": ("v100-32g", 8),
    "ziya-llama-13b-v1": ("a100-40g", 64),
}
# The others are run whole elsewhere: the quickstart and the recipes that tune to instructions.
WHOLE = [
    "smollm2-135m-zh",
    "smollm2-135m-ru",
    "qwen-or-llama3-zh",
    "chinese-llama-2-7b",
    "colossal-llama-2-7b",
]
SENTENCEPIECE = ("chinese-llama-2-7b", "colossal-llama-2-7b")


@pytest.mark.parametrize("name", RECIPES)
def test_a_plan_takes_it_as_it_stands(name: str) -> None:
    device, devices = RECIPES[name]
    recipe = ROOT / "recipes" / f"{name}.yaml"
    found = answer("plan", recipe, "--device", device, "--devices", devices)
    assert all(stage["fits"] for stage in found["stages"]), found["stages"]
    assert found["hours"]["usual"] > 0


def test_one_set_makes_it_a_plan_for_qwen() -> None:
    recipe = ROOT / "recipes/qwen-or-llama3-zh.yaml"
    for base, least in (("Qwen/Qwen2.5-0.5B", 4e8), ("Qwen/Qwen3-0.6B", 5e8)):
        found = answer("plan", recipe, "--device", "h100", "--set", f"base={base}")
        assert found["parameters"]["base"] > least
        assert all(stage["fits"] for stage in found["stages"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of text, a byte-level base and a SentencePiece one, both with random weights."""
    folder = tmp_path_factory.mktemp("recipes")
    build_small(folder, ROOT)
    (folder / "llama").mkdir()
    base = sentencepiece_base(folder / "llama")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    rows = load_encoder(base).size
    config = LlamaConfig(**sizes, **heads, vocab_size=rows, max_position_embeddings=1024)
    LlamaForCausalLM(config).save_pretrained(base)
    shutil.copytree(folder / "base", folder / "qwen")  # the byte-level tokenizer, another model
    rows = load_encoder(folder / "qwen").size
    ends = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True}
    qwen = Qwen2Config(**sizes, **heads, **ends, vocab_size=rows, max_position_embeddings=1024)
    Qwen2ForCausalLM(qwen).save_pretrained(folder / "qwen")
    return folder


def settings(name: str, tiny: Path, base: str = "") -> list[str]:
    """What makes a recipe small, and nothing that it is about."""
    recipe = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    place = tiny / (base or ("llama" if name in SENTENCEPIECE else "base"))
    found = [f"base={place}", "corpus.holdout.bytes=20000", "tokenizer.size=120"]
    for index, source in enumerate(recipe["corpus"]["sources"]):
        path = tiny / f"{source['name']}.jsonl"
        if source["name"] == "ru":
            path = ROOT / "data/russian/ru.jsonl.zst"
        found.append(f"corpus.sources.{index}.paths=[{path}]")
    if recipe["graft"]["init"] == "distil":
        found.append(
            "graft.distil={positions: 1500, depth: 1, steps: 6, batch_tokens: 500, "
            "output_positions: 1500, output_steps: 10, output_batch: 256, old_positions: 0}"
        )
    small = {"tokens": 2048, "batch_tokens": 512, "row_tokens": 128, "micro_rows": 2, "evaluate": 1}
    for index in range(len(recipe["pretrain"])):
        found += [f"pretrain.{index}.{key}={value}" for key, value in small.items()]
    found += ["hardware.precision=fp32", "hardware.frozen=fp32", "hardware.threads=1"]
    return [*found, "eval.max_bytes=2000"]


@pytest.mark.parametrize(("name", "base"), [*((n, "") for n in WHOLE), (WHOLE[2], "qwen")])
def test_it_runs_whole_on_a_tiny_base(name: str, base: str, tiny: Path, tmp_path: Path) -> None:
    sets = [part for setting in settings(name, tiny, base) for part in ("--set", setting)]
    command = [sys.executable, "-m", "langraft", "run", str(ROOT / f"recipes/{name}.yaml")]
    command += ["--out", str(tmp_path), "--json", *sets]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    recipe = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    for stage in recipe["pretrain"]:
        trained = results(tmp_path, f"pretrain-{stage['name']}")
        assert trained["tokens"] == 2048
    last = tmp_path / f"pretrain-{recipe['pretrain'][-1]['name']}"
    config = json.loads((last / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] % 64 == 0
    assert config["model_type"] == ("qwen2" if base else "llama")
    assert (tmp_path / "report.html").exists()
