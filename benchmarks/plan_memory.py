"""The plan's memory beside the peak that training steps really reach, on a CPU.

    python benchmarks/plan_memory.py [--json FILE] [--only CASE ...]

Each case trains a model of random weights for two steps, on one thread, twice, each time in a
process of its own. Once every allocation of a tensor is noted: their highest sum is what a GPU
calls its peak of allocated memory; the plan without its margin should be within a tenth of
it. Once the process's highest resident size is taken, less the size before the model exists (a tiny
model has gone the same way before, so that libraries are loaded): beside tensors that is what the C
library keeps of freed blocks and what products pack, for which the plan has a margin.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import gc
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROW, BATCH_ROWS, STEPS = 512, 4, 2


@dataclasses.dataclass(frozen=True)
class Size:
    """A Llama shape, its blocks, and its rows."""

    layers: int
    hidden: int
    heads: int
    keys: int
    inner: int
    rows: int


SIZES = {
    "59M": Size(8, 512, 8, 8, 1_408, 32_768),
    "134M": Size(30, 576, 9, 3, 1_536, 24_576),
    "186M": Size(12, 1_024, 16, 4, 2_816, 16_384),
    "tiny": Size(1, 32, 2, 2, 64, 64),
}
FULL, LORA = {"train": "full"}, {"train": "lora"}
HALF = {"precision": "bf16"}
WAYS: dict[str, dict[str, Any]] = {
    "all": FULL,
    "all, recomputed": {**FULL, "checkpointing": "full"},
    "all, bf16": {**FULL, **HALF},
    "all, bf16, two rows at a time": {**FULL, **HALF, "micro_rows": 2},
    "all, bf16, recomputed": {**FULL, **HALF, "checkpointing": "full"},
    "all, bf16, selective": {**FULL, **HALF, "checkpointing": "selective"},
    "all, bf16, moments in 8 bit": {**FULL, **HALF, "states": "8bit"},
    "LoRA and embeddings, bf16": {**LORA, **HALF},
    "LoRA and embeddings, bf16, recomputed": {**LORA, **HALF, "checkpointing": "full"},
    "LoRA alone, bf16, frozen bf16": {**LORA, **HALF, "embeddings": False, "frozen": "bf16"},
    "new rows, bf16": {"train": "new-rows", **HALF},
}
OTHERS = ("all", "all, bf16", "all, bf16, recomputed", "LoRA and embeddings, bf16")
CASES = {
    **{f"59M, {name}": ("59M", way) for name, way in WAYS.items()},
    **{f"{size}, {name}": (size, WAYS[name]) for size in ("134M", "186M") for name in OTHERS},
}


def resident(key: str) -> int:
    """Bytes of `VmRSS` (now) or `VmHWM` (the highest) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def peak_resident(size: Size, case: dict[str, Any]) -> int:
    """The highest resident size in bytes, less that before the model."""
    run(SIZES["tiny"], case)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest size starts anew
    run(size, case)
    return resident("VmHWM") - before


def peak_allocated(size: Size, case: dict[str, Any]) -> int:
    """The highest sum of all tensors' bytes at one time."""
    from torch.profiler import ProfilerActivity, profile

    run(SIZES["tiny"], case)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run(size, case)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in events))


MEASURES = {"allocated": peak_allocated, "resident": peak_resident}


def run(size: Size, case: dict[str, Any]) -> None:
    """Two steps of a random model of this size."""
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

    config = LlamaConfig(
        vocab_size=size.rows,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.keys,
        max_position_embeddings=1024,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    device = Device("cpu", bf16=case.get("precision") == "bf16")
    hardware = Hardware(
        checkpointing=case.get("checkpointing", "none"),
        states=case.get("states", "fp32"),
        frozen=case.get("frozen", "fp32"),
    )
    new_rows = (size.rows - size.rows // 32, size.rows)
    learner, _ = set_up(model, stage_of(case), new_rows, Place(device, hardware=hardware))
    micro = case.get("micro_rows", BATCH_ROWS)
    rows = np.random.default_rng(0).integers(0, size.rows, (BATCH_ROWS, ROW))
    batches = [assemble([[r] for r in rows[n : n + micro]]) for n in range(0, BATCH_ROWS, micro)]

    def work(step: int) -> StepWork:
        calls = [lambda b=batch: next_token_loss(model, b, device) for batch in batches]
        return StepWork(calls, sum(b.counted for b in batches), BATCH_ROWS * ROW)

    with tempfile.TemporaryDirectory() as folder:
        log = MetricsLog(Path(folder) / "metrics.jsonl", "x")
        loop = Loop("x", STEPS, 0.0, 0.0, 1.0, schedule="constant", checkpoint_seconds=1e9)
        run_loop(loop, work, learner, Path(folder), log)


def stage_of(case: dict[str, Any]) -> Any:
    """The case as a stage of a recipe."""
    from langraft.recipe import Lora, Pretrain

    lora = Lora(rank=16, alpha=32, dropout=0.0, embeddings=case.get("embeddings", True))
    return Pretrain(
        name="x",
        train=case["train"],
        lora=lora,
        tokens=STEPS * ROW * BATCH_ROWS,
        row_tokens=ROW,
        batch_tokens=ROW * BATCH_ROWS,
        micro_rows=case.get("micro_rows"),
    )


def planned(size: Size, case: dict[str, Any]) -> Any:
    """The plan's parts."""
    from langraft.plan.devices import HOST_KEPT
    from langraft.plan.memory import training_memory
    from langraft.plan.shape import Shape
    from langraft.plan.stages import setting_of
    from langraft.recipe import Hardware

    shape = Shape(
        size.hidden,
        size.layers,
        size.heads,
        size.keys,
        size.hidden // size.heads,
        size.inner,
        size.rows,
    )
    hardware = Hardware(
        precision=case.get("precision", "fp32"),
        checkpointing=case.get("checkpointing", "none"),
        states=case.get("states", "fp32"),
        frozen=case.get("frozen", "fp32"),
    )
    return training_memory(shape, setting_of(stage_of(case), shape, hardware, 1, 1), HOST_KEPT)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(CASES), help="these cases")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=list(MEASURES), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        import torch

        torch.set_num_threads(1)
        size, case = CASES[chosen.case]
        print(MEASURES[chosen.measure](SIZES[size], case))
        return
    found = []
    print("| case | allocated MB | plan without margin | ratio | resident MB | plan | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen.only or CASES:
        size, case = CASES[name]
        plan = planned(SIZES[size], case)
        bare, whole = plan.total - plan.margin, plan.total
        peaks = {how: peak_of(name, how) for how in MEASURES}
        cells = [peaks["allocated"], bare, peaks["resident"], whole]
        shown = [f"{cell / 1e6:,.0f}" for cell in cells]
        shown.insert(2, f"{bare / peaks['allocated']:.2f}")
        shown.append(f"{whole / peaks['resident']:.2f}")
        print(f"| {name} | {' | '.join(shown)} |", flush=True)
        found.append({"case": name, **peaks, "planned": dataclasses.asdict(plan)})
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=1) + "\n")


def peak_of(name: str, how: str) -> int:
    """One measure of one case, in a process of its own; bytes."""
    command = [sys.executable, __file__, "--case", name, "--measure", how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
