"""Which of the possible ways to train fit a device, and which is fastest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import product

from langraft.plan.devices import Device
from langraft.plan.memory import Checkpointing, Memory, Setting, training_memory
from langraft.plan.shape import Shape

# What recomputation costs in operations decides the order, from cheap to dear.
CHECKPOINTINGS: tuple[Checkpointing, ...] = ("none", "selective", "full")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One way to train, and what it needs."""

    setting: Setting
    memory: Memory
    fits: bool

    @property
    def words(self) -> str:
        """The way, for people."""
        one = self.setting
        sharded = f"sharded over {one.shards}" if one.shards > 1 else "whole on each device"
        parts = [sharded, f"checkpointing {one.checkpointing}", f"{one.micro_tokens:,} tokens"]
        parts += [f"moments {one.states}"] if one.states != "fp32" else []
        parts += [f"frozen weights {one.frozen}"] if one.frozen != "fp32" else []
        parts += ["weights and moments on the host"] if one.offload else []
        return ", ".join(parts)


def choices(shape: Shape, asked: Setting, device: Device, group: int, row: int) -> list[Choice]:
    """Every sharding (none, or over `group`) and checkpointing, at the micro-batch that was asked
    for and at one row of `row` tokens, cheapest first.
    """
    found = []
    for setting in _ways(asked, group, row):
        memory = training_memory(shape, setting, device.context)
        found.append(Choice(setting, memory, memory.total <= device.memory))
    return found


def _ways(asked: Setting, group: int, row: int) -> Iterator[Setting]:
    sizes = sorted({asked.micro_tokens, min(row, asked.micro_tokens)}, reverse=True)
    shardings = sorted({1, group, asked.shards})
    for states in dict.fromkeys((asked.states, "8bit")):
        for shards, checkpointing, tokens in product(shardings, CHECKPOINTINGS, sizes):
            yield dataclasses.replace(
                asked,
                shards=shards,
                checkpointing=checkpointing,
                micro_tokens=tokens,
                accumulates=asked.accumulates or tokens < asked.micro_tokens,
                states=states,
            )


def nearest(found: list[Choice], asked: Setting) -> Choice | None:
    """The way that fits and differs from the one asked for in the fewest respects; of those, the
    first.
    """
    fields = ("shards", "checkpointing", "micro_tokens", "states")
    fitting = [choice for choice in found if choice.fits]
    return min(
        fitting,
        key=lambda c: sum(getattr(c.setting, f) != getattr(asked, f) for f in fields),
        default=None,
    )


def fewest_devices(
    shape: Shape, asked: Setting, device: Device, row: int, most: int = 1024
) -> int | None:
    """The fewest devices that share the weights and fit; None when `most` do not."""
    group = 1
    while group <= most:
        trial = dataclasses.replace(
            asked, shards=group, checkpointing="full", micro_tokens=row, accumulates=True
        )
        if training_memory(shape, trial, device.context).total <= device.memory:
            return group
        group *= 2
    return None
