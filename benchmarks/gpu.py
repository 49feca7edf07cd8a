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
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langraft.core.compute import peak_flops
from langraft.data.pack import Batch, assemble
from langraft.recipe import Hardware, Pretrain
from langraft.train.loss import linear_cross_entropy
from langraft.train.objectives import next_token_loss
from langraft.train.precision import Device
from langraft.train.ranks import Ranks, join_ranks, leave_ranks
from langraft.train.shard import call_through
from langraft.train.stage import Place, set_up

VOCABULARY = 69_120
PROFILED = 15  # kernels that the profile names


@dataclasses.dataclass(frozen=True)
class Size:
    """A Llama shape."""

    hidden: int
    middle: int
    layers: int
    heads: int
    key_heads: int


SIZES = {
    "1.1B": Size(2_048, 5_632, 22, 32, 4),  # TinyLlama
    "7B": Size(4_096, 11_008, 32, 32, 32),  # LLaMA-2
    "tiny": Size(64, 128, 2, 4, 2),
}


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


class Bench:
    """What all cases share."""

    def __init__(self, smoke: bool, ranks: Ranks) -> None:
        self.smoke, self.ranks = smoke, ranks
        self.device = Device("cpu" if smoke else "cuda", bf16=not smoke, cast=ranks.mesh is None)
        self.row = 64 if smoke else 4_096
        name = "CPU" if smoke else torch.cuda.get_device_name()
        self.name, self.peak = name, peak_flops(name, 1)

    def model(self, size: str) -> LlamaForCausalLM:
        """A random model; 7B is 27 GB of host memory for a moment."""
        shape = SIZES["tiny" if self.smoke else size]
        config = LlamaConfig(
            vocab_size=512 if self.smoke else VOCABULARY,
            hidden_size=shape.hidden,
            intermediate_size=shape.middle,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_heads,
            max_position_embeddings=4_096,
            tie_word_embeddings=False,
        )
        torch.manual_seed(0)
        with torch.device("cpu" if self.smoke else "cuda"):  # random numbers are quick there
            model = LlamaForCausalLM(config)
        return model if self.smoke else model.to("cpu")

    def lengths(self, seed: int, total: int) -> list[int]:
        """Document lengths as web text has them: log-normal, median 400 tokens, cut at the row."""
        generator, found = np.random.default_rng(seed), []
        median = 20 if self.smoke else 400
        while sum(found) < total:
            found.append(int(np.clip(generator.lognormal(np.log(median), 1.1), 4, self.row)))
        found[-1] -= sum(found) - total
        return [n for n in found if n > 0]

    def packed(self, rows: int, seed: int) -> Batch:
        """`rows` full rows; pieces end where documents or rows end."""
        generator = np.random.default_rng(seed)
        vocabulary = 512 if self.smoke else VOCABULARY
        laid = []
        for row in range(rows):
            lengths = self.lengths(seed * 1_000 + row, self.row)
            laid.append([generator.integers(0, vocabulary, n) for n in lengths])
        return assemble(laid)

    def sync(self) -> None:
        """Wait for the device."""
        if not self.smoke:
            torch.cuda.synchronize()

    def clean(self) -> None:
        """Give memory back between cases."""
        gc.collect()
        if not self.smoke:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def timed(self, step: Callable[[int], object], steps: int, warm: int = 3) -> float:
        """Seconds of a step, the median, the first `warm` (compiling) left out."""
        times = []
        for number in range(warm + steps):
            self.sync()
            begun = time.perf_counter()
            step(number)
            self.sync()
            times.append(time.perf_counter() - begun)
        return float(np.median(times[warm:]))


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
        hardware = hardware.model_copy(update={"compile": False, "frozen": "fp32"})
    place = Place(bench.device, bench.ranks, hardware)
    learner, shape = set_up(model, stage, (vocabulary, vocabulary), place)
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


def padded_case(bench: Bench, steps: int) -> dict[str, Any]:
    """Real documents packed against padded to the longest of their batch, HF's own way."""
    model = bench.model("1.1B").to(bench.device.name)
    model.train()
    count = 16
    lengths = bench.lengths(7, count * (20 if bench.smoke else 600))[:count]
    vocabulary = model.config.vocab_size
    generator = np.random.default_rng(3)
    documents = [generator.integers(0, vocabulary, n) for n in lengths]
    longest = max(lengths)
    ids = torch.zeros(len(documents), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, document in enumerate(documents):
        ids[row, : len(document)] = torch.as_tensor(document)
        mask[row, : len(document)] = 1
    ids, mask = ids.to(bench.device.name), mask.to(bench.device.name)
    device = dataclasses.replace(bench.device, cast=True)

    def padded(_: int) -> None:
        with device.autocast():
            for part in range(0, len(documents), 4):
                rows = slice(part, part + 4)
                hidden = model.base_model(ids[rows], attention_mask=mask[rows], use_cache=False)
                hidden = hidden.last_hidden_state[:, :-1].flatten(0, 1)
                labels = torch.where(mask[rows] == 1, ids[rows], -100)[:, 1:].flatten()
                hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
                linear_cross_entropy(hidden, model.lm_head.weight, labels)[0].backward()
        model.zero_grad()

    slow = bench.timed(padded, steps)
    from langraft.train import attention

    model.set_attn_implementation(attention.register())
    quarters = [assemble([documents[a::4]]) for a in range(4)]

    def packed(_: int) -> None:
        for batch in quarters:
            next_token_loss(model, batch, device).backward()
        model.zero_grad()

    quick = bench.timed(packed, steps)
    return {
        "padded_seconds": round(slow, 4),
        "packed_seconds": round(quick, 4),
        "times_faster": round(slow / quick, 2),
        "padding_share": round(1 - sum(lengths) / (longest * count), 3),
    }


def trainer_case(bench: Bench, steps: int) -> dict[str, Any]:
    """HF Trainer on full rows without padding, the 1.1B shape, bf16 autocast, fused AdamW; the last
    case, for it must not find our process group and wrap the model.
    """
    leave_ranks(bench.ranks)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)
    import tempfile

    from transformers import Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            bench.sync()
            times.append(time.perf_counter())

    model = bench.model("1.1B")
    rows, vocabulary = 8, model.config.vocab_size
    ids = torch.randint(vocabulary, (rows * (steps + 4), bench.row))
    data = [{"input_ids": row, "labels": row} for row in ids]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps + 3,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=1e-5,
            bf16=not bench.smoke,
            optim="adamw_torch_fused",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=1_000,
            use_cpu=bench.smoke,
            gradient_checkpointing=False,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            callbacks=[Clock()],  # type: ignore[arg-type]
        )
        trainer.train()
    seconds = float(np.median(np.diff(times)[2:]))
    return {
        "tokens_per_second": round(rows * bench.row / seconds),
        "seconds_a_step": round(seconds, 4),
    }


def attention_check(bench: Bench) -> dict[str, Any]:
    """Packed attention on this device against one document at a time, and the functions it has."""
    from langraft.train import attention

    torch.manual_seed(1)
    lengths = [5, 64, 1, 130]
    total = sum(lengths)
    dtype = torch.float32 if bench.smoke else torch.bfloat16
    query, key, value = (
        torch.randn(1, heads, total, 64, dtype=dtype, device=bench.device.name)
        for heads in (8, 2, 2)
    )
    edges = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32, device=bench.device.name)
    found, _ = attention.packed_attention(
        torch.nn.Identity(),
        query,
        key,
        value,
        None,
        scaling=0.125,
        cu_seq_lens_q=edges,
        max_length_q=256,
    )
    wanted = attention._document_by_document(query, key, value, edges, 0.125)
    return {
        "largest_difference": float((found - wanted).abs().max()),
        "varlen_arguments": sorted(attention._varlen_knows()),
    }


def table(results: dict[str, Any], bench: Bench) -> None:
    """Print one line a case, with its target."""
    print(f"\n{bench.name}, torch {torch.__version__}, rows of {bench.row}")
    print(f"{'case':26} {'tokens/s':>9} {'MFU':>7} {'GB':>6}  target")
    for case in CASES:
        found = results.get(case.name)
        if found is None or "tokens_per_second" not in found:
            print(f"{case.name:26} {found or 'not run'}")
            continue
        mfu = f"{found['mfu']:.1%}" if found["mfu"] is not None else "-"
        goal = [f"MFU {case.mfu:.0%}"] if case.mfu else []
        goal += [f"{case.tokens:,} tokens/s"] if case.tokens else []
        print(
            f"{case.name:26} {found['tokens_per_second']:>9,} {mfu:>7} "
            f"{found['memory_gb'] or '-':>6}  {', '.join(goal)}"
        )
    for kernel, share in results.get(CASES[0].name, {}).get("profile", {}).items():
        print(f"    {share:6.1%}  {kernel}")
    for name in ("packed against padded", "HF Trainer 1.1B", "attention"):
        print(f"{name:26} {results.get(name, 'not run')}")
    if "ours against HF Trainer" in results:
        print(f"ours against HF Trainer    {results['ours against HF Trainer']:.2f} (target 1.3)")


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
