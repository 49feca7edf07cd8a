"""Every GPU claim of the training engine, measured in one script: under ten minutes on one H100 or
H200, a table and JSON.

    python benchmarks/gpu.py [--json FILE] [--only NAME ...] [--seconds 540]
    python benchmarks/gpu.py --smoke       the same code path on a CPU, its figures mean nothing

MFU counts 6 FLOP for each weight that a token is multiplied with and learns, 4 where it does not
learn, plus causal attention; recomputation is not counted; the peak is the maker's dense bfloat16
figure. Rows are packed to 4,096 tokens of real-length documents; the vocabulary is 69,120.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_ground import Bench
from gpu_peers import attention_check, padded_case, trainer_case

from langraft.recipe import Hardware, Pretrain
from langraft.train.objectives import next_token_loss
from langraft.train.ranks import join_ranks, leave_ranks
from langraft.train.shard import call_through
from langraft.train.stage import Place, set_up

PROFILED = 15  # kernels that the profile names


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        micro_rows, micros: rows of 4,096 tokens at one time, and how often a step.
        memory: GiB that it needs; a smaller device skips it.
        mfu: the target; `tokens` the target in tokens a second.
    """

    name: str
    size: str
    stage: dict[str, Any]
    hardware: dict[str, Any]
    micro_rows: int
    micros: int = 1
    memory: int = 0
    mfu: float | None = None
    tokens: int | None = None


FULL = {"train": "full", "lr": 1e-5}
LORA = {"train": "lora", "lr": 1e-4, "lora": {"rank": 64, "alpha": 128, "dropout": 0.0}}
CASES = (
    Case("1.1B full", "1.1B", FULL, {"compile": True}, 4, 2, 60, mfu=0.50),
    Case(
        "1.1B full, selective",
        "1.1B",
        FULL,
        {"compile": True, "checkpointing": "selective"},
        8,
        1,
        60,
        mfu=0.50,
    ),
    Case(
        "7B LoRA + embeddings",
        "7B",
        LORA,
        {"compile": True, "checkpointing": "full", "frozen": "bf16"},
        4,
        1,
        70,
        mfu=0.45,
    ),
    Case(
        "7B LoRA + embeddings, 4 bits",
        "7B",
        LORA,
        {"compile": True, "checkpointing": "full", "frozen": "nf4"},
        4,
        1,
        40,
    ),
    Case(
        "7B full",
        "7B",
        FULL,
        {"compile": True, "checkpointing": "full"},
        2,
        4,
        130,
        mfu=0.46,
        tokens=10_500,
    ),
    Case(
        "7B full, 8-bit states",
        "7B",
        FULL,
        {"compile": True, "checkpointing": "full", "states": "8bit"},
        2,
        4,
        100,
    ),
)


def train_case(bench: Bench, case: Case, steps: int, profile: bool) -> dict[str, Any]:
    """Tokens a second, MFU and memory of one case; with `profile` where the time goes."""
    rows = case.micro_rows * case.micros
    stage = Pretrain(
        name="gpu", tokens=1, row_tokens=bench.row, batch_tokens=bench.row * rows, **case.stage
    )
    model = bench.model(case.size)
    vocabulary = model.config.vocab_size
    hardware = Hardware(**case.hardware)
    if bench.smoke:
        halves = {"frozen": "fp32"} if hardware.frozen == "bf16" else {}
        hardware = hardware.model_copy(update={"compile": False, **halves})
    place = Place(bench.device, bench.ranks, hardware)
    learner, shape = set_up(model, stage, (vocabulary, vocabulary), place)
    bench.clean()  # making the model took memory that training does not
    call_through(model, lambda batch: next_token_loss(model, batch, bench.device))
    micros = [
        [bench.packed(case.micro_rows, s * 31 + m) for m in range(case.micros)] for s in range(4)
    ]
    flops = np.mean(
        [shape.flops(np.concatenate([np.diff(b.boundaries) for b in s])) for s in micros]
    )

    def step(number: int) -> None:
        batches = micros[number % len(micros)]
        count = sum(batch.counted for batch in batches)
        for batch in batches:
            (model(batch) / count).backward()
        learner.step(1.0, 1.0)

    seconds = bench.timed(step, steps)
    # between steps: weights and moments; what the peak has above it are activations and gradients
    held = None if bench.smoke else round(torch.cuda.memory_allocated() / 1e9, 1)
    found: dict[str, Any] = {
        "tokens_per_second": round(rows * bench.row / seconds),
        "seconds_a_step": round(seconds, 4),
        "mfu": round(flops / seconds / bench.peak, 4) if bench.peak else None,
        "memory_gb": None if bench.smoke else round(torch.cuda.max_memory_allocated() / 1e9, 1),
        "memory_held_gb": held,
    }
    return found | ({"profile": profiled(bench, step)} if profile else {})


def profiled(bench: Bench, step: Callable[[int], None]) -> dict[str, Any]:
    """Where one step's time goes by kernel, and what memory is held at its peak."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if not bench.smoke:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as seen:
        step(0)
        bench.sync()
    name = "self_cpu_time_total" if bench.smoke else "self_device_time_total"
    kernels = sorted(seen.key_averages(), key=lambda k: -getattr(k, name))
    total = sum(getattr(k, name) for k in kernels) or 1
    return {k.key[:60]: round(getattr(k, name) / total, 4) for k in kernels[:PROFILED]}


def table(results: dict[str, Any], bench: Bench) -> None:
    """Print one line a case, with its target."""
    print(f"\n{bench.name}, torch {torch.__version__}, rows of {bench.row}")
    print(f"{'case':28} {'tokens/s':>9} {'MFU':>7} {'GB':>6}  target")
    for case in CASES:
        found = results.get(case.name)
        if found is None or "tokens_per_second" not in found:
            print(f"{case.name:28} {found or 'not run'}")
            continue
        mfu = f"{found['mfu']:.1%}" if found["mfu"] is not None else "-"
        goal = [f"MFU {case.mfu:.0%}"] if case.mfu else []
        goal += [f"{case.tokens:,} tokens/s"] if case.tokens else []
        print(
            f"{case.name:28} {found['tokens_per_second']:>9,} {mfu:>7} "
            f"{found['memory_gb'] or '-':>6}  {', '.join(goal)}"
        )
    for kernel, share in results.get(CASES[0].name, {}).get("profile", {}).items():
        print(f"    {share:6.1%}  {kernel}")
    for name in ("packed against padded", "HF Trainer 1.1B", "attention"):
        print(f"{name:28} {results.get(name, 'not run')}")
    if "ours against HF Trainer" in results:
        print(f"ours against HF Trainer      {results['ours against HF Trainer']:.2f} (target 1.3)")


def main() -> None:
    """Run every case that fits the device and the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--seconds", type=float, default=540, help="begin no case after that")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU")
    arguments = parser.parse_args()
    if not arguments.smoke and not torch.cuda.is_available():
        sys.exit("no GPU here: --smoke runs the same code on a CPU; its figures mean nothing")
    if arguments.smoke:  # one process with a mesh, as a GPU has
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        os.environ.update(alone | {"MASTER_PORT": str(29_000 + os.getpid() % 1_000)})
    ranks = join_ranks("cpu" if arguments.smoke else "cuda")
    bench, begun = Bench(arguments.smoke, ranks), time.monotonic()
    room = 10_000 if arguments.smoke else torch.cuda.mem_get_info()[1] / 2**30
    jobs: dict[str, Callable[[], dict[str, Any]]] = {"attention": lambda: attention_check(bench)}
    for case in CASES:
        if case.memory <= room:
            first = case is CASES[0]
            jobs[case.name] = lambda c=case, p=first: train_case(bench, c, arguments.steps, p)
    jobs["packed against padded"] = lambda: padded_case(bench, arguments.steps)
    jobs["HF Trainer 1.1B"] = lambda: trainer_case(bench, arguments.steps)
    results: dict[str, Any] = {}
    for name, job in jobs.items():
        if arguments.only and name not in arguments.only:
            continue
        if time.monotonic() - begun > arguments.seconds:
            results[name] = {"skipped": "no time left"}
            continue
        bench.clean()
        try:
            results[name] = job()
        except torch.OutOfMemoryError as error:
            results[name] = {"out_of_memory": str(error).splitlines()[0]}
        shown = {k: v for k, v in results[name].items() if k != "profile"}
        print(f"[{time.monotonic() - begun:5.0f} s] {name}: {shown}", flush=True)
        if arguments.json:  # after every case, so that a cut run keeps what it has
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    ours, theirs = results.get("1.1B full", {}), results.get("HF Trainer 1.1B", {})
    if "tokens_per_second" in ours and "tokens_per_second" in theirs:
        ratio = ours["tokens_per_second"] / theirs["tokens_per_second"]
        results["ours against HF Trainer"] = round(ratio, 3)
    table(results, bench)
    results["device"] = {"name": bench.name, "torch": torch.__version__}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    leave_ranks(ranks)


if __name__ == "__main__":
    main()
