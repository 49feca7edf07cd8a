"""DPO beside TRL's DPOTrainer on a CPU: the same model, pairs and precision, one epoch.

    python benchmarks/tuning_dpo.py [--json FILE]

TRL comes with `make bench-setup`; without it its row says so. Both see the same pairs in the same
order with the same optimiser, and their losses are compared step by step. Times are wall-clock and
processor seconds on one thread, a process of its own for each, rounds interleaved, the best of
each. Ours include the scoring of all answers by the reference.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from nine_million import VOCABULARY, model_9m, word_tokenizer
from transformers import LlamaForCausalLM

PAIRS, BATCH, ROUNDS = 24, 4, 2
BETA, RATE, SEED = 0.1, 1e-4, 1
NEAR = 5e-5  # four digits


def model() -> LlamaForCausalLM:
    """The model of both."""
    return model_9m(pad_token_id=0, eos_token_id=1)


def pairs() -> list[tuple[list[int], list[int], list[int]]]:
    """Questions of 64 tokens with answers of 20 to 200."""
    generator = np.random.default_rng(0)

    def ids(count: int) -> list[int]:
        return list(map(int, generator.integers(4, VOCABULARY, count)))

    sizes = generator.integers(20, 200, (PAIRS, 2))
    return [(ids(64), [*ids(a), 1], [*ids(b), 1]) for a, b in sizes.tolist()]


def order() -> list[int]:
    """The order in which our feed shows the pairs in its first epoch."""
    return [int(n) for n in np.random.Generator(np.random.PCG64([SEED, 0])).permutation(PAIRS)]


def ours() -> dict[str, Any]:
    """The stage without its files: reference, feed, loss, engine."""
    from functools import partial

    from langraft.core.metrics import MetricsLog, read_metrics
    from langraft.data.encode import Encoded
    from langraft.data.pairs import PairFeed, PairSet
    from langraft.data.samples import lay
    from langraft.recipe import Dpo
    from langraft.train.precision import Device
    from langraft.train.preference import DPO_MEASURES, dpo_loss
    from langraft.train.scoring import sample_logprobs
    from langraft.train.stage import Place, Task, train_stage

    policy, device = model(), Device("cpu", bf16=False)
    samples = [
        Encoded(np.array(q + answer), np.arange(len(q + answer)) >= len(q))
        for q, chosen, rejected in pairs()
        for answer in (chosen, rejected)
    ]
    ones = np.ones(PAIRS, np.float32)
    held = PairSet(lay(samples), 0 * ones, ones)
    begun, wall = time.process_time(), time.perf_counter()
    reference = sample_logprobs(policy, held.samples, device, "reference")[0].astype(np.float32)
    feed = PairFeed(held, batch=BATCH, epochs=1, seed=SEED, reference=reference)
    stage = Dpo(data="none", lr=RATE, schedule="constant", warmup=0.0, checkpoint_seconds=1e9)
    task = Task(feed, partial(dpo_loss, beta=BETA), DPO_MEASURES)
    with tempfile.TemporaryDirectory() as folder:
        log = MetricsLog(Path(folder) / "metrics.jsonl", "dpo")
        train_stage(policy, task, stage, Place(device), Path(folder), log, lambda step, seen: None)
        seconds = {"processor": time.process_time() - begun, "wall": time.perf_counter() - wall}
        losses = [r["loss"] for r in read_metrics(Path(folder) / "metrics.jsonl")]
    return {**seconds, "losses": losses}


def trl() -> dict[str, Any]:
    """DPOTrainer as it comes, with a reference model of its own."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    def text(ids: list[int]) -> str:
        return " ".join(f"w{n}" for n in ids)

    found = pairs()
    rows = [
        {"prompt": text(q) + " ", "chosen": text(a[:-1]), "rejected": text(b[:-1])}
        for q, a, b in (found[n] for n in order())
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            adam_beta2=0.95,
            train_sampling_strategy="sequential",
            beta=BETA,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            gradient_checkpointing=False,
            bf16=False,
        )
        trainer = DPOTrainer(
            model(),
            model(),
            settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=word_tokenizer(pad=0, end=1),
        )
        begun, wall = time.process_time(), time.perf_counter()
        trainer.train()
        seconds = {"processor": time.process_time() - begun, "wall": time.perf_counter() - wall}
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {**seconds, "losses": losses}


def apart(name: str) -> dict[str, Any]:
    """One of the two in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"missing": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Measure both, print and write the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=["ours", "trl"])
    options = parser.parse_args()
    if options.only:
        print(json.dumps({"ours": ours, "trl": trl}[options.only]()))
        return
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    for _ in range(ROUNDS):
        for name, found in runs.items():
            found.append(apart(name))
    result: dict[str, Any] = {}
    for name, found in runs.items():
        missing = [run["missing"] for run in found if "missing" in run]
        if missing:
            print(f"{name}: not measured: {missing[0]}")
            continue
        best = {kind: min(run[kind] for run in found) for kind in ("processor", "wall")}
        result[name] = best | {"losses": found[0]["losses"]}
        print(f"{name}: {best['wall']:.1f} s, {best['processor']:.1f} processor seconds")
        print(f"  losses {', '.join(f'{loss:.5f}' for loss in found[0]['losses'])}")
    if len(result) == 2:
        sides = zip(result["ours"]["losses"], result["trl"]["losses"], strict=True)
        result["losses_apart"] = max(abs(a - b) for a, b in sides)
        print(f"losses: {result['losses_apart']:.1e} apart at most (goal {NEAR:.0e})")
        for kind in ("wall", "processor"):
            result[f"ratio_{kind}"] = result["trl"][kind] / result["ours"][kind]
        ratios = (
            f"{result['ratio_wall']:.2f} times, {result['ratio_processor']:.2f} of processor time"
        )
        print(f"TRL takes {ratios} (goal 1.4)")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
