"""The plan's memory beside the peak that training steps really reach, on a CPU.

    python benchmarks/plan_memory.py [--json FILE]

Each case trains a model of random weights for three steps in a process of its own. Measured is the
highest resident size after the libraries are loaded, less the size before the model exists; the
plan's number is without its margin, which stands for what an allocator wastes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LAYERS, HIDDEN, HEADS, INNER, ROWS = 8, 512, 8, 1_408, 32_768
ROW, BATCH_ROWS = 512, 4
CASES: dict[str, dict[str, Any]] = {
    "all, fp32": {"train": "full"},
    "all, bf16": {"train": "full", "precision": "bf16"},
    "all, bf16, two rows at a time": {"train": "full", "precision": "bf16", "micro_rows": 2},
    "all, bf16, checkpointing full": {
        "train": "full",
        "precision": "bf16",
        "checkpointing": "full",
    },
    "all, bf16, checkpointing selective": {
        "train": "full",
        "precision": "bf16",
        "checkpointing": "selective",
    },
    "all, bf16, moments in 8 bit": {"train": "full", "precision": "bf16", "states": "8bit"},
    "LoRA and embeddings, bf16": {"train": "lora", "precision": "bf16"},
    "LoRA alone, bf16, frozen bf16": {
        "train": "lora",
        "precision": "bf16",
        "embeddings": False,
        "frozen": "bf16",
    },
    "new rows, bf16": {"train": "new-rows", "precision": "bf16"},
}


def resident(key: str) -> int:
    """Bytes of `VmRSS` (now) or `VmHWM` (the highest) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def train(case: dict[str, Any]) -> int:
    """Train three steps; the peak in bytes."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from langraft.core.metrics import MetricsLog
    from langraft.data.pack import assemble
    from langraft.recipe import Hardware
    from langraft.train.engine import StepWork, run_loop
    from langraft.train.loop import Loop
    from langraft.train.objectives import next_token_loss
    from langraft.train.precision import Device
    from langraft.train.stage import Place, set_up

    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=1024,
    )
    warm_up(LlamaForCausalLM, LlamaConfig)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest size starts anew
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    device = Device("cpu", bf16=case.get("precision") == "bf16")
    hardware = Hardware(
        checkpointing=case.get("checkpointing", "none"),
        states=case.get("states", "fp32"),
        frozen=case.get("frozen", "fp32"),
    )
    learner, _ = set_up(
        model, stage_of(case), (ROWS - 1_000, ROWS), Place(device, hardware=hardware)
    )
    micro = case.get("micro_rows", BATCH_ROWS)
    rows = np.random.default_rng(0).integers(0, ROWS, (BATCH_ROWS, ROW))
    batches = [assemble([[r] for r in rows[n : n + micro]]) for n in range(0, BATCH_ROWS, micro)]

    def work(step: int) -> StepWork:
        calls = [lambda b=batch: next_token_loss(model, b, device) for batch in batches]
        return StepWork(calls, sum(b.counted for b in batches), BATCH_ROWS * ROW)

    with tempfile.TemporaryDirectory() as folder:
        log = MetricsLog(Path(folder) / "metrics.jsonl", "x")
        loop = Loop("x", 3, 0.0, 0.0, 1.0, schedule="constant", checkpoint_seconds=1e9)
        run_loop(loop, work, learner, Path(folder), log)
    return resident("VmHWM") - before


def warm_up(model_class: Any, config_class: Any) -> None:
    """Load what the libraries load at the first backward pass."""
    import torch

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    tiny = model_class(config_class(**sizes, vocab_size=64, num_attention_heads=2))
    with torch.autocast("cpu", torch.bfloat16):
        tiny(torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()


def stage_of(case: dict[str, Any]) -> Any:
    """The case as a stage of a recipe."""
    from langraft.recipe import Lora, Pretrain

    lora = Lora(rank=16, alpha=32, dropout=0.0, embeddings=case.get("embeddings", True))
    return Pretrain(
        name="x",
        train=case["train"],
        lora=lora,
        tokens=3 * ROW * BATCH_ROWS,
        row_tokens=ROW,
        batch_tokens=ROW * BATCH_ROWS,
        micro_rows=case.get("micro_rows"),
    )


def planned(case: dict[str, Any]) -> float:
    """The plan's bytes, margin left out."""
    from langraft.plan.memory import training_memory
    from langraft.plan.shape import Shape
    from langraft.plan.stages import setting_of
    from langraft.recipe import Hardware

    shape = Shape(HIDDEN, LAYERS, HEADS, HEADS, HIDDEN // HEADS, INNER, ROWS)
    hardware = Hardware(
        precision=case.get("precision", "fp32"),
        checkpointing=case.get("checkpointing", "none"),
        states=case.get("states", "fp32"),
        frozen=case.get("frozen", "fp32"),
    )
    memory = training_memory(shape, setting_of(stage_of(case), shape, hardware, 1, 1))
    return memory.total - memory.margin


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(train(CASES[chosen.case]))
        return
    found = []
    print("| case | measured MB | planned MB | planned / measured |\n|---|---|---|---|")
    for name, case in CASES.items():
        command = [sys.executable, __file__, "--case", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        measured, plan = int(done.stdout.split()[-1]), planned(case)
        print(
            f"| {name} | {measured / 1e6:,.0f} | {plan / 1e6:,.0f} | {plan / measured:.2f} |",
            flush=True,
        )
        found.append({"case": name, "measured": measured, "planned": plan})
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
