"""The tables beside a plan: memory of every way to train on every number of devices, and the share
of time that trains on clusters of every size.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from langraft.plan.memory import training_memory
from langraft.plan.scale import Cluster, scaling
from langraft.plan.settings import CHECKPOINTINGS
from langraft.plan.stages import Growth, Machine, setting_for
from langraft.recipe import Recipe, Training

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CLUSTERS = (8, 16, 32, 64, 128, 256, 512, 1024)


def memory_grid(
    recipe: Recipe, stage: Training, grown: Growth, machine: Machine
) -> list[dict[str, Any]]:
    """Memory of one device for 1 to as many as there are, weights whole on each and shared by all,
    with every kind of recomputation; bytes by part.
    """
    counts = sorted({*(n for n in COUNTS if n < machine.devices), machine.devices})
    found = []
    for count in (n for n in counts if n <= stage.batch_tokens // stage.row_tokens):
        asked = setting_for(recipe, stage, grown.grown, machine, count)
        for shards in sorted({1, asked.shards}):
            for checkpointing in CHECKPOINTINGS:
                way = dataclasses.replace(asked, shards=shards, checkpointing=checkpointing)
                device = machine.device
                memory = training_memory(grown.grown, way, device.context)
                found.append(
                    {
                        "devices": count,
                        "shards": shards,
                        "checkpointing": checkpointing,
                        **dataclasses.asdict(memory),
                        "total": memory.total,
                        "fits": memory.total <= machine.device.memory,
                    }
                )
    return found


def goodput_grid(cluster: Cluster) -> list[dict[str, float]]:
    """What waiting for the slowest, failures and checkpoints leave of 8 to 1,024 devices' time;
    messages, which depend on the batch, left out.
    """
    found = []
    for count in CLUSTERS:
        lost = scaling(1.0, 0.0, dataclasses.replace(cluster, devices=count))
        found.append(
            {
                "devices": count,
                "failures_a_day": 24 * count / cluster.mtbf,
                "checkpoint_seconds": lost.interval,
                "running": lost.running,
                "together": lost.together,
                "goodput": lost.efficiency,
            }
        )
    return found
