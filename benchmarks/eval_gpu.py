"""Full five-shot MMLU, CMMLU and C-Eval of a 7B-shaped model on one GPU, the seconds of each, and
lm-evaluation-harness on a slice of the same questions beside it where it is installed.

The weights are random, for speed does not depend on them; the tokenizer is a real one.
`python benchmarks/eval_gpu.py --tokenizer FOLDER --data benchmarks.tar.zst --json gpu.json`;
`--smoke` takes the same path on a CPU, where its figures mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from eval_lm_eval import Spent, ours, prompt_tokens, referee, slice_of
from transformers import LlamaConfig, LlamaForCausalLM

from langraft.checkpoint.folder import load_tokenizer
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import load_exam

SUITES = ("mmlu", "cmmlu", "ceval")
SHAPES = {
    "7B": {"hidden_size": 4_096, "intermediate_size": 11_008, "heads": 32, "layers": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "heads": 4, "layers": 2},
}
WINDOW = 4_096
TARGET_SECONDS = 180


def random_model(shape: dict[str, int], vocabulary: int, device: str) -> LlamaForCausalLM:
    """A model of that shape in bfloat16, made on the device."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"],
        num_hidden_layers=shape["layers"],
        max_position_embeddings=WINDOW,
        dtype=torch.bfloat16,
    )
    with torch.device(device):
        return LlamaForCausalLM(config).to(torch.bfloat16).eval()


def whole_suites(reader: Reader, data: str, limit: int | None) -> dict[str, Any]:
    """Seconds of each suite, read from its files to the scored summary."""
    found: dict[str, Any] = {}
    for suite in SUITES:
        exam = load_exam(suite, data, Path(), shots=5, limit=limit)
        with tempfile.TemporaryDirectory() as folder:
            start = Spent.now()
            summary = evaluate(reader, exam, "lm-eval", Path(folder))
            seconds = Spent.since(start).clock
        found[f"{suite} questions"] = summary.main.count
        found[f"{suite} seconds"] = round(seconds, 1)
    total = sum(found[f"{suite} seconds"] for suite in SUITES)
    return {**found, "all seconds": round(total, 1), "target seconds": TARGET_SECONDS}


def beside_the_harness(
    reader: Reader, data: str, batch: int, *, questions: int = 10_000, limit: int = 20
) -> dict[str, Any]:
    """The first `questions` of ten subjects of MMLU, against the harness on the first `limit`."""
    whole = slice_of("mmlu", data, questions, 10)
    part = slice_of("mmlu", data, limit, 10)
    _, spent, _ = ours(reader, whole)
    _, theirs = referee(reader.model, reader.tokenizer, part, batch, reader.window)
    scale = prompt_tokens(reader, whole) / prompt_tokens(reader, part)
    return {
        "ten subjects, langraft seconds": round(spent.clock, 1),
        "ten subjects, lm-eval seconds by tokens": round(theirs.clock * scale, 1),
        "times faster": round(theirs.clock * scale / spent.clock, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--smoke", action="store_true", help="a small shape, few questions")
    parser.add_argument("--batch", type=int, default=32, help="lm-eval's batch size")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not arguments.smoke:
        raise SystemExit("no GPU here; --smoke takes the same path on a CPU")
    tokenizer = load_tokenizer(arguments.tokenizer)
    shape = SHAPES["tiny" if arguments.smoke else "7B"]
    model = random_model(shape, len(tokenizer), device)
    reader = Reader(model, tokenizer, WINDOW, "random weights")
    limit = 1 if arguments.smoke else None
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        **whole_suites(reader, arguments.data, limit),
    }
    if device == "cuda":
        result["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    if importlib.util.find_spec("lm_eval") is None:
        print("lm-eval is not installed here (make bench-setup): no comparison")
    else:
        few = {"questions": 2, "limit": 1} if arguments.smoke else {}
        result |= beside_the_harness(reader, arguments.data, arguments.batch, **few)
    for key, value in result.items():
        print(f"{key:42} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
