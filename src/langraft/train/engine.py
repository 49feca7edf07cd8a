"""THE optimiser step and the loop around it. Every stage that trains by gradient goes through
here.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from langraft.core.errors import RunFailed
from langraft.core.io import PARTIAL, disk_errors, read_json, remove, replace_folder, write_json
from langraft.core.messages import bar, say
from langraft.core.metrics import MetricsLog
from langraft.train.optim import Optimiser, wsd

CHECKPOINT = "checkpoint"


@dataclasses.dataclass(frozen=True)
class StepWork:
    """What one optimiser step learns from.

    Attributes:
        micro_batches: each call returns one summed loss (a scalar with gradient); they are added
            up.
        count: what the sum is divided by: the labels that count, over all micro-batches.
        tokens: tokens fed to the model, for the log.
    """

    micro_batches: Sequence[Callable[[], Tensor]]
    count: int
    tokens: int


@dataclasses.dataclass(frozen=True)
class Loop:
    """How long and how.

    Attributes:
        name: the stage, shown on the bar.
        steps: optimiser steps in all.
        warmup, decay: shares of the steps, see `wsd`.
        clip: largest gradient norm.
        evaluate_at: steps after which `evaluate` is called; the last one should be among them.
        checkpoint_seconds: time between checkpoints.
    """

    name: str
    steps: int
    warmup: float
    decay: float
    clip: float
    evaluate_at: frozenset[int] = frozenset()
    checkpoint_seconds: float = 60.0


def run_loop(
    loop: Loop,
    work: Callable[[int], StepWork],
    learner: Optimiser,
    folder: Path,
    log: MetricsLog,
    evaluate: Callable[[int, int], None] = lambda step, tokens: None,
) -> dict[str, Any]:
    """Train for `loop.steps`, going on from the checkpoint in `folder` if there is one, with the
    same bytes as a result.

    Returns:
        first and last loss per token (nats), steps, tokens and tokens per second of this process.

    Raises:
        RunFailed: the loss or the gradient norm is not finite, or the disk is full; the last
            checkpoint stays.
    """
    first, losses, tokens = _restore(learner, folder)
    log.rewind(first)
    if first:
        say(f"[cyan]going on[/cyan] at step {first} of {loop.steps}")
    before, saved, busy = tokens, time.monotonic(), 0.0
    with bar() as progress:
        task = progress.add_task(loop.name, total=loop.steps, completed=first, note="")
        for step in range(first, loop.steps):
            begun = time.monotonic()
            share = wsd(step, loop.steps, loop.warmup, loop.decay)
            this = work(step)
            loss, norm = _step(this, learner, share, loop.clip)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise RunFailed(
                    f"{loop.name}: loss {loss} and gradient norm {norm} at step {step + 1} are not "
                    f"finite; "
                    "lower lr, or look at the data of this step, then run the same command again"
                )
            losses.append(loss)
            tokens += this.tokens
            busy += time.monotonic() - begun
            speed = (tokens - before) / busy
            numbers = {"loss": loss, "grad_norm": norm, "share": share, "tokens_per_second": speed}
            log.write(step + 1, tokens=tokens, **{k: round(v, 5) for k, v in numbers.items()})
            progress.update(task, advance=1, note=f"loss {loss:.3f}  {speed:,.0f} tokens/s")
            if step + 1 in loop.evaluate_at:
                evaluate(step + 1, tokens)
            if time.monotonic() - saved > loop.checkpoint_seconds and step + 1 < loop.steps:
                _save(learner, folder, {"step": step + 1, "losses": losses, "tokens": tokens})
                saved = time.monotonic()
    return {
        "steps": loop.steps,
        "tokens": tokens,
        "loss_first": round(losses[0], 4),
        "loss_last": round(sum(losses[-10:]) / len(losses[-10:]), 4),
        "tokens_per_second": round((tokens - before) / busy, 1) if busy else None,
    }


def _step(work: StepWork, learner: Optimiser, share: float, clip: float) -> tuple[float, float]:
    """One optimiser step: sums of loss over micro-batches, one division, one update. Returns loss
    per token and norm.
    """
    total = 0.0
    for micro_batch in work.micro_batches:
        loss = micro_batch() / work.count
        loss.backward()
        total += float(loss.detach())
    return total, float(learner.step(share, clip))


def _save(learner: Optimiser, folder: Path, state: dict[str, Any]) -> None:
    """Write weights, moments, step and losses beside the old checkpoint, then take its place."""
    final, partial = folder / CHECKPOINT, folder / (CHECKPOINT + PARTIAL)
    remove(partial)
    with disk_errors(partial):
        partial.mkdir(parents=True)
        save_file(
            {n: p.detach().contiguous() for n, p in learner.parameters.items()},
            partial / "weights.safetensors",
        )
        save_file(learner.tensors(), partial / "optimiser.safetensors")
        write_json(partial / "state.json", state)
        replace_folder(partial, final)


def _checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: a kill between two renames leaves only the older one, under
    its `.old` name.
    """
    places = (folder / CHECKPOINT, folder / (CHECKPOINT + ".old"))
    return next((place for place in places if (place / "state.json").exists()), None)


def _restore(learner: Optimiser, folder: Path) -> tuple[int, list[float], int]:
    """Put the learner back where the checkpoint is; returns steps done, their losses, and tokens
    seen.
    """
    place = _checkpoint(folder)
    if place is None:
        return 0, [], 0
    weights = load_file(place / "weights.safetensors")
    with torch.no_grad():
        for name, parameter in learner.parameters.items():
            parameter.copy_(weights[name])
    learner.load(load_file(place / "optimiser.safetensors"))
    state = read_json(place / "state.json")
    return int(state["step"]), list(state["losses"]), int(state["tokens"])


def drop_checkpoint(folder: Path) -> None:
    """Remove what a finished loop left, once its result is safe elsewhere."""
    for name in (CHECKPOINT, CHECKPOINT + PARTIAL, CHECKPOINT + ".old"):
        remove(folder / name)
