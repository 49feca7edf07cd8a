"""Ranks over gloo on this machine, each in a process of its own as `torchrun` starts it, and what
they do in tests/dist.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
from random_llama import CPU, course_over, random_course, random_llama
from safetensors.torch import save_file

from langraft.core.io import write_json
from langraft.core.metrics import MetricsLog
from langraft.data.shards import Shard
from langraft.recipe import Hardware, Pretrain
from langraft.train.pretrain import pretrain, steps
from langraft.train.ranks import ALONE, Ranks, join_ranks, leave_ranks
from langraft.train.stage import Outcome, Place

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["langraft.train.pretrain"])  # imported once, then forked
VOCABULARY, NEW = 64, (56, 62)
STAGE: dict[str, Any] = {
    "name": "adapt",
    "tokens": 8 * 128,
    "lr": 3e-3,
    "batch_tokens": 128,
    "row_tokens": 16,
    "epochs": 100,
    "evaluate": 8,
    "checkpoint_seconds": 1e9,
}
ROW, BUCKETS, POISONED = 16, 4, 2


@dataclasses.dataclass(frozen=True)
class Case:
    """One small stage: what differs from `STAGE` and from the hardware's defaults."""

    name: str
    stage: dict[str, Any] = dataclasses.field(default_factory=dict)
    hardware: dict[str, Any] = dataclasses.field(default_factory=dict)
    tied: bool = False
    poisoned: bool = False


def train(
    folder: Path,
    case: Case,
    ranks: Ranks = ALONE,
    evaluate: Callable[[int, int], None] = lambda step, tokens: None,
) -> Outcome:
    """The stage; metrics, weights and every rank's numbers are left in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = Pretrain(**(STAGE | case.stage))
    place = Place(CPU, ranks, Hardware(**case.hardware), seed=17)
    course = random_course(steps=steps(stage))
    if case.poisoned:
        layout = {"rows": 4, "row_tokens": ROW, "buckets": BUCKETS, "epochs": 1_000}
        course = course_over({"zh": [counting()]}, {"zh": 1.0}, steps=steps(stage), **layout)
    log = MetricsLog(folder / "metrics.jsonl", stage.name)
    model = random_llama(VOCABULARY, tied=case.tied)
    done = pretrain(model, course, stage, NEW, place, folder, log, evaluate)
    write_json(folder / f"rank-{ranks.rank}.json", done.numbers)
    if ranks.lead:
        save_file({n: w.contiguous() for n, w in done.weights.items()}, folder / "learnt")
    return done


def counting() -> Shard:
    """Documents that count upwards; every fourth, the third bucket, is random ids."""
    generator, count = np.random.default_rng(0), 64
    documents = [(np.arange(ROW) + n) % 40 for n in range(count)]
    for number in range(POISONED, count, BUCKETS):
        documents[number] = generator.integers(0, VOCABULARY, ROW)
    offsets = np.arange(count + 1, dtype=np.int64) * ROW
    return Shard(np.concatenate(documents).astype(np.uint32), offsets)


def train_all(folder: Path, cases: list[Case], group: int | None = None) -> None:
    """What a rank does: one case after another."""
    ranks = join_ranks("cpu", group)
    said = ranks.agree([f"told by rank {ranks.rank}", "再见"])
    write_json(folder / f"agreed-{ranks.rank}.json", said)
    for case in cases:
        train(folder / case.name, case, ranks)
    leave_ranks(ranks)


def train_and_break(folder: Path, case: Case, who: int, what: str, step: int) -> None:
    """What a rank does when rank `who` is to stop, die or hang after `step`."""
    ranks = join_ranks("cpu")
    signals = {"stop": signal.SIGTERM, "die": signal.SIGKILL}

    def evaluate(now: int, tokens: int) -> None:
        if ranks.rank == who and now == step:
            if what in signals:
                os.kill(os.getpid(), signals[what])
            else:
                time.sleep(120)

    train(folder / case.name, case, ranks, evaluate)
    leave_ranks(ranks)


def launch(
    world: int, folder: Path, work: Callable[..., None], *arguments: Any
) -> list[tuple[int | None, str]]:
    """Let `world` ranks do `work(folder, *arguments)`.

    Returns:
        each rank's exit code (minus the signal that ended it), and what it wrote to stderr.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks: list[ForkServerProcess] = [
        CONTEXT.Process(target=_rank, args=(rank, world, port, folder, work, arguments))
        for rank in range(world)
    ]
    for process in ranks:
        process.start()
    deadline = time.monotonic() + 200
    for process in ranks:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    said = [(folder / f"said-{rank}").read_text() for rank in range(world)]
    return [(process.exitcode, words) for process, words in zip(ranks, said, strict=True)]


def _rank(
    rank: int, world: int, port: int, folder: Path, work: Callable[..., None], arguments: Any
) -> None:
    with (folder / f"said-{rank}").open("w") as said:
        os.dup2(said.fileno(), 2)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    who = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
    os.environ.update({key: str(value) for key, value in (where | who).items()})
    work(folder, *arguments)


def logged(folder: Path) -> list[dict[str, Any]]:
    """The records of every step that was taken."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "loss" in record]
