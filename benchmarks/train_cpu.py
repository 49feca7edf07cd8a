"""The training engine beside HF Trainer and TRL's SFTTrainer on a CPU: the same model, data order
and precision.

    python benchmarks/train_cpu.py [--json FILE] [--part engines|precision|loss]

TRL comes with `make bench-setup`; without it its row says so. Ratios are of processor seconds of a
whole run in a process of its own (one thread, rounds interleaved, the best of each), because a
neighbour's load does not change those much; wall seconds stand beside them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from nine_million import VOCABULARY, model_9m, word_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

ROW, ROWS = 512, 2
ROUNDS, STEPS = 3, 10
HEAD = 69_120


def tokens(steps: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows in their order, shape (steps x ROWS, ROW)."""
    return np.random.default_rng(0).integers(0, VOCABULARY, (steps * ROWS, ROW))


def ours(steps: int) -> list[float]:
    """Every row is one document, and epoch and order are those of the rows."""
    from langraft.core.metrics import MetricsLog, read_metrics
    from langraft.data.pack import assemble
    from langraft.recipe import Hardware, Pretrain
    from langraft.train.engine import StepWork, run_loop
    from langraft.train.loop import Loop
    from langraft.train.objectives import next_token_loss
    from langraft.train.precision import Device
    from langraft.train.stage import Place, set_up

    model, rows = model_9m(), tokens(steps)
    device = Device("cpu", bf16=False)
    stage = Pretrain(name="x", tokens=ROW * ROWS * steps, lr=5e-4, weight_decay=0.0)
    place = Place(device, hardware=Hardware())
    learner, _ = set_up(model, stage, (VOCABULARY, VOCABULARY), place)

    def work(step: int) -> StepWork:
        batch = assemble([[row] for row in rows[step * ROWS : (step + 1) * ROWS]])
        return StepWork([lambda: next_token_loss(model, batch, device)], batch.counted, ROW * ROWS)

    with tempfile.TemporaryDirectory() as folder:
        log = MetricsLog(Path(folder) / "metrics.jsonl", "x")
        loop = Loop(
            "x", steps, warmup=0.0, decay=0.0, clip=1.0, schedule="constant", checkpoint_seconds=1e9
        )
        run_loop(loop, work, learner, Path(folder), log)
        return [r["loss"] for r in read_metrics(Path(folder) / "metrics.jsonl")]


def settings(folder: str, steps: int) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": folder,
        "max_steps": steps,
        "per_device_train_batch_size": ROWS,
        "learning_rate": 5e-4,
        "adam_beta2": 0.95,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "bf16": False,
        "fp16": False,
        "dataloader_num_workers": 0,
    }


class InOrder(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """The rows as HF's trainer wants them."""

    def __init__(self, steps: int) -> None:
        self.rows = torch.as_tensor(tokens(steps))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def _in_order(trainer: type) -> type:
    class Ordered(trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    return Ordered


def huggingface(steps: int) -> list[float]:
    """transformers' Trainer."""
    from transformers import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(**settings(folder, steps))
        trainer = _in_order(Trainer)(model=model_9m(), args=arguments, train_dataset=InOrder(steps))
        trainer.train()
        return [r["loss"] for r in trainer.state.log_history if "loss" in r]


def trl(steps: int) -> list[float]:
    """TRL's SFTTrainer, packing without padding."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"input_ids": tokens(steps).tolist()})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **settings(folder, steps),
            packing=True,
            packing_strategy="wrapped",
            max_length=ROW,
            dataset_kwargs={"skip_prepare_dataset": False},
            shuffle_dataset=False,
        )
        trainer = _in_order(SFTTrainer)(
            model=model_9m(),
            args=arguments,
            train_dataset=data,
            processing_class=word_tokenizer(pad=0, end=0),
        )
        trainer.train()
        return [r["loss"] for r in trainer.state.log_history if "loss" in r]


def bf16_speed() -> dict[str, float]:
    """Processor seconds of a step of the 135M shape, 512 tokens, in float32 and in bfloat16."""
    from langraft.data.pack import assemble
    from langraft.recipe import Pretrain
    from langraft.train.objectives import next_token_loss
    from langraft.train.precision import Device
    from langraft.train.stage import Place, set_up

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    batch = assemble([[np.random.default_rng(0).integers(0, 49_152, 512)]])
    found: dict[str, float] = {}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        model, device = LlamaForCausalLM(config), Device("cpu", bf16)
        stage = Pretrain(name="x", tokens=512, lr=1e-5)
        learner, _ = set_up(model, stage, (49_152, 49_152), Place(device))
        times = []
        for _ in range(4):
            begun = time.process_time()
            (next_token_loss(model, batch, device) / batch.counted).backward()
            learner.step(1.0, 1.0)
            times.append(time.process_time() - begun)
        found[name] = round(min(times[1:]), 3)
    return found | {"times_faster": round(found["fp32"] / found["bf16"], 2)}


def loss_peak(kind: str, bf16: bool) -> float:
    """MB over its inputs that forward and backward of one loss take at 1,024 rows of 576 and a
    vocabulary of 69,120, hidden states and matrix both in float32 or both in bfloat16.
    """
    from langraft.train.loss import linear_cross_entropy

    dtype = torch.bfloat16 if bf16 else torch.float32
    hidden = torch.randn(1_024, 576).to(dtype).requires_grad_()
    weight = torch.randn(HEAD, 576).to(dtype).requires_grad_()
    labels = torch.randint(HEAD, (1_024,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if kind == "chunked":
        loss = linear_cross_entropy(hidden, weight, labels)[0]
    else:
        loss = F.cross_entropy((hidden @ weight.T).float(), labels, reduction="sum")
    loss.backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


ENGINES = {"langraft": ours, "HF Trainer": huggingface, "TRL SFTTrainer, packed": trl}


def child(*arguments: str) -> dict[str, Any] | None:
    """This script again in a process of its own; its last line is JSON. None where it failed."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stderr.splitlines()[-1] + "\n" if done.stderr else "")
        return None
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_child(name: str, *rest: str) -> dict[str, Any]:
    """One measurement in this process."""
    torch.set_num_threads(1)
    if name == "loss":
        return {"mb": loss_peak(rest[0], rest[1] == "bf16")}
    if name == "precision":
        return bf16_speed()
    ENGINES[name](2)  # imports and first-call costs
    begun, worked = time.perf_counter(), time.process_time()
    losses = ENGINES[name](int(rest[0]))
    worked = time.process_time() - worked
    return {"seconds": worked, "wall": time.perf_counter() - begun, "losses": losses}


def engines(rounds: int, steps: int) -> dict[str, Any]:
    """Best seconds of each engine and the ratios; losses must agree to four digits."""
    seconds: dict[str, list[float]] = {}
    walls: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in ENGINES:
            found = child(name, str(steps))
            if found is not None:
                seconds.setdefault(name, []).append(found["seconds"])
                walls.setdefault(name, []).append(found["wall"])
                losses[name] = found["losses"]
    best = {name: round(min(values), 3) for name, values in seconds.items()}
    print(f"{steps} steps x {ROWS} x {ROW} tokens, 9 M parameters, fp32, one thread")
    for name in ENGINES:
        if name not in best:
            print(f"  {name:24} could not run here (make bench-setup)")
            continue
        apart = max(abs(a - b) for a, b in zip(losses[name], losses["langraft"], strict=True))
        ratio = best[name] / best["langraft"]
        print(
            f"  {name:24} {best[name]:7.2f} cpu-s ({min(walls[name]):.2f} s)"
            f"   langraft is {ratio:.2f} times as fast"
            f"   last loss {losses[name][-1]:.4f}, at most {apart:.5f} apart"
        )
    return {"seconds": best, "all_seconds": seconds, "wall": walls, "losses": losses}


def main() -> None:
    """Run the parts asked for and print their ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=("engines", "precision", "loss"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--child", nargs="+")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run_child(*arguments.child)))
        return
    result: dict[str, Any] = {}
    if arguments.part in (None, "engines"):
        result["engines"] = engines(arguments.rounds, arguments.steps)
    if arguments.part in (None, "precision"):
        result["precision"] = child("precision")
        print("135M shape, 512 tokens, cpu-s a step:", result["precision"])
    if arguments.part in (None, "loss"):
        peaks = {}
        for dtype in ("fp32", "bf16"):
            for kind in ("plain", "chunked"):
                found = child("loss", kind, dtype)
                peaks[f"{kind} {dtype}"] = round(found["mb"]) if found else None
            share = peaks[f"chunked {dtype}"] / peaks[f"plain {dtype}"]  # type: ignore[operator]
            print(
                f"loss at {HEAD:,} ids, {dtype}: plain {peaks[f'plain {dtype}']} MB, chunked "
                f"{peaks[f'chunked {dtype}']} MB, {share:.2f} of it"
            )
        result["loss_peak_mb"] = peaks
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
