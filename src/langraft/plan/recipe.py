"""The plan of a whole recipe as plain numbers: for people, for pages, for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.plan.compute import hours
from langraft.plan.devices import Device
from langraft.plan.feedback import feedback_memory
from langraft.plan.grids import COUNTS, goodput_grid, memory_grid
from langraft.plan.memory import Memory
from langraft.plan.scale import Cluster
from langraft.plan.settings import Choice
from langraft.plan.shape import KNOWN, Shape
from langraft.plan.stages import Growth, Machine, StagePlan, growth, plan_stage
from langraft.plan.starting import starting_flops
from langraft.recipe import Recipe, Training

SFT_TOKENS = 50_000_000  # 250,000 conversations of 200 tokens


def base_shape(base: str | None, root: Path) -> Shape:
    """The base's sizes, from its folder's `config.json`, the table, or what the hub's cache on this
    machine holds: nothing is downloaded.

    Raises:
        BadInput: no base, or one that is neither a folder here nor in the table.
    """
    if base is None:
        raise BadInput("the recipe names no base; a plan needs its sizes")
    config = root / base / "config.json"
    if config.is_file():
        return Shape.of(read_json(config), base)
    if base in KNOWN:
        return Shape.of(KNOWN[base], base)
    cached = _cached_config(base)
    if cached is not None:
        return Shape.of(read_json(cached), base)
    raise BadInput(
        f"base {base!r}: no folder of that name with a config.json, and not in the plan's table. "
        f"Download its config.json into a folder and name that (--set base=FOLDER), or take one of "
        f"{', '.join(KNOWN)}"
    )


def _cached_config(base: str) -> Path | None:
    """The `config.json` of a hub id that was fetched before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(base, "config.json")
    except HFValidationError:  # no hub id at all
        return None
    return Path(found) if isinstance(found, str) else None


def plan_recipe(
    recipe: Recipe,
    root: Path,
    machine: Machine,
    mean_document: float = 1_000.0,
    sft_tokens: int = SFT_TOKENS,
) -> dict[str, Any]:
    """All stages, their sums, and hours by number of devices.

    Args:
        root: the folder that the recipe's paths are relative to.
        mean_document: tokens of the document that a token stands in, for attention.
        sft_tokens: tokens of the conversations, which no recipe states.

    Raises:
        BadInput: the base's sizes are not known, or a stage cannot be cut for so many devices.
    """
    grown = growth(recipe, base_shape(recipe.base, root))
    reads = _reads(recipe, sft_tokens)
    if not reads:
        raise BadInput(f"recipe {recipe.name}: no training stage to plan (no pretrain, no sft)")
    stages = [plan_stage(recipe, s, n, grown, machine, mean_document) for s, n in reads]
    fullest = max(range(len(stages)), key=lambda n: stages[n].asked.memory.total)
    rows = _starting(recipe, grown, machine)
    return {
        "recipe": recipe.name,
        "base": recipe.base,
        "device": {"title": machine.device.title, "source": machine.device.source},
        "devices": machine.devices,
        "price": machine.price,
        "parameters": _parameters(grown),
        "stages": [_stage(stage, grown, machine) for stage in stages],
        "graft": rows,
        "hours": _sum(stages, rows),
        "money": _money(_sum(stages, rows), machine),
        "disk": _whole_disk(stages),
        "left_out": [stage.name for stage in recipe.align],
        "feedback": feedback_memory(recipe, grown, machine),
        "memory_of": stages[fullest].name,
        "memory_grid": memory_grid(recipe, reads[fullest][0], grown, machine),
        "goodput": goodput_grid(machine.cluster),
        "by_devices": _by_devices(recipe, reads, grown, machine, mean_document, rows),
    }


def _reads(recipe: Recipe, sft_tokens: int) -> list[tuple[Training, int]]:
    """The stages whose work is known beforehand, and the tokens that each reads."""
    found: list[tuple[Training, int]] = [(stage, stage.tokens) for stage in recipe.pretrain]
    if recipe.sft is not None:
        found.append((recipe.sft, sft_tokens * recipe.sft.epochs))
    return found


def _starting(recipe: Recipe, grown: Growth, machine: Machine) -> dict[str, Any] | None:
    """Learning the new rows, which one device does; None where nothing is learnt."""
    tokens, operations = starting_flops(recipe.graft, grown)
    if not operations:
        return None
    spent = dataclasses.asdict(hours(operations, machine.device, 1))
    return {"tokens": tokens, "flops": operations, "hours": spent}


def _parameters(grown: Growth) -> dict[str, Any]:
    return {
        "base": grown.base.parameters,
        "grown": grown.grown.parameters,
        "rows": grown.grown.rows,
        "added_rows": grown.added,
        "rows_assumed": grown.assumed,
        "untied": grown.base.tied and not grown.grown.tied,
    }


def _stage(stage: StagePlan, grown: Growth, machine: Machine) -> dict[str, Any]:
    spent = dataclasses.asdict(stage.time)
    return {
        "name": stage.name,
        "tokens": stage.tokens,
        "learning": stage.learning,
        "tokens_per_parameter": stage.tokens / stage.learning if stage.learning else None,
        "sightings_per_new_row": stage.sightings,
        "flops_per_token": stage.work.useful,
        "flops": stage.operations,
        "hours": spent,
        "money": _money(spent, machine),
        "memory": _memory(stage.asked.memory, machine.device),
        "setting": stage.asked.words,
        "fits": stage.asked.fits,
        "nearest": _choice(stage.nearest),
        "fewest_devices": stage.fewest,
        "ways": [_choice(way) for way in stage.ways],
        "efficiency": dataclasses.asdict(stage.scaling) | {"all": stage.scaling.efficiency},
        "disk": dict(zip(("text", "checkpoints", "model"), stage.disk, strict=True)),
    }


def _choice(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    used = choice.memory.total
    return {"setting": choice.words, "bytes": used, "fits": choice.fits}


def _memory(memory: Memory, device: Device) -> dict[str, float]:
    return dataclasses.asdict(memory) | {"total": memory.total, "device": device.memory}


def _sum(stages: list[StagePlan], rows: Mapping[str, Any] | None) -> dict[str, float]:
    """Hours of the new rows and of all stages."""
    before = rows["hours"] if rows else {}
    return {
        part: before.get(part, 0.0) + sum(getattr(stage.time, part) for stage in stages)
        for part in ("good", "usual", "poor")
    }


def _money(spent: Mapping[str, float], machine: Machine) -> dict[str, float] | None:
    if machine.price is None:
        return None
    return {part: value * machine.devices * machine.price for part, value in spent.items()}


def _whole_disk(stages: list[StagePlan]) -> float:
    """Bytes at the fullest moment: every stage's text and model, one stage's checkpoints."""
    lasting = sum(text + model for text, _, model in (stage.disk for stage in stages))
    return lasting + max(stage.disk[1] for stage in stages)


def _by_devices(
    recipe: Recipe,
    reads: list[tuple[Training, int]],
    grown: Growth,
    machine: Machine,
    mean_document: float,
    rows: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """Hours and efficiency for each number of devices that a batch can be shared by."""
    most = min(stage.batch_tokens // stage.row_tokens for stage, _ in reads)
    found = []
    for count in sorted({*COUNTS, machine.devices}):
        if count > most:
            break
        cluster: Cluster = dataclasses.replace(machine.cluster, devices=count)
        other = dataclasses.replace(machine, cluster=cluster)
        stages = [plan_stage(recipe, s, n, grown, other, mean_document) for s, n in reads]
        spent = _sum(stages, rows)
        found.append(
            {
                "devices": count,
                "hours": spent,
                "money": _money(spent, other),
                "efficiency": min(stage.scaling.efficiency for stage in stages),
                "fits": all(stage.nearest is not None for stage in stages),
            }
        )
    return found
