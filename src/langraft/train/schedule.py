"""Schedules of the learning rate: the share of the peak rate at 0-based `step` of `steps`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Schedule = Callable[[int, int, float, float, float], float]


def wsd(step: int, steps: int, warmup: float, decay: float, floor: float = 0.0) -> float:
    """The warm-up, stable, decay schedule (MiniCPM, arXiv 2404.06395).

    Linear from 1/(warm-up steps) to 1, constant, then linear towards `floor`, which the step after
    the last would reach.
    """
    rising, falling = round(steps * warmup), round(steps * decay)
    if step < rising:
        return (step + 1) / rising
    if step >= steps - falling:
        return floor + (1 - floor) * ((steps - step) / (falling + 1))
    return 1.0


def cosine(step: int, steps: int, warmup: float, decay: float, floor: float = 0.0) -> float:
    """Half a cosine from 1 to `floor` after the warm-up (arXiv 1608.03983; Colossal-LLaMA-2 with
    floor 0.1).
    """
    del decay
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    way = (step - rising) / max(1, steps - rising)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * way))


def linear(step: int, steps: int, warmup: float, decay: float, floor: float = 0.0) -> float:
    """A straight line from 1 to `floor` after the warm-up, as HF Trainer's `linear`."""
    del decay
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return floor + (1 - floor) * (steps - step) / max(1, steps - rising)


def constant(step: int, steps: int, warmup: float, decay: float, floor: float = 0.0) -> float:
    """1 after the warm-up."""
    del decay, floor
    rising = round(steps * warmup)
    return (step + 1) / rising if step < rising else 1.0


SCHEDULES: Mapping[str, Schedule] = {
    "wsd": wsd,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}
