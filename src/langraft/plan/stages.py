"""A recipe's stages as work, memory, hours and money."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from langraft.core.errors import BadInput
from langraft.plan.compute import Time, Work, hours, work
from langraft.plan.devices import Device
from langraft.plan.memory import CODED, Setting
from langraft.plan.scale import Cluster, Scaling, messages, scaling
from langraft.plan.settings import Choice, choices, fewest_devices, nearest
from langraft.plan.shape import Shape
from langraft.recipe import Hardware, Pretrain, Recipe, Training
from langraft.recipe.graft import AUTO, parts_of

ADDED_BY_AUTO = 8_000  # pieces that are assumed where the recipe lets the text decide
TOKEN_BYTES = 4  # of a tokenised corpus on the disk


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a plan is made for.

    Attributes:
        price: of a device for an hour, in any currency; None where no money is asked for.
    """

    device: Device
    cluster: Cluster
    price: float | None = None

    @property
    def devices(self) -> int:
        """All devices."""
        return self.cluster.devices


@dataclasses.dataclass(frozen=True)
class Growth:
    """What the recipe makes of the base before it trains.

    Attributes:
        base, grown: shapes before and after.
        added: rows that are new, padding left out.
        assumed: the recipe lets the text decide how many, so the number is a guess.
    """

    base: Shape
    grown: Shape
    added: int
    assumed: bool


def growth(recipe: Recipe, base: Shape) -> Growth:
    """The shapes before and after the vocabulary is extended."""
    vocabulary, graft = recipe.tokenizer, recipe.graft
    if vocabulary is None or vocabulary.method == "keep":
        return Growth(base, base, 0, False)
    assumed = vocabulary.size == "auto"
    added = ADDED_BY_AUTO if vocabulary.size == "auto" else vocabulary.size
    if vocabulary.vocabulary is not None:
        assumed, added = False, max(vocabulary.vocabulary - base.rows, 0)
    added += vocabulary.pad_token is not None
    rows = -(-(base.rows + added) // vocabulary.pad_to) * vocabulary.pad_to
    untied = bool(graft and _untied(graft.untie, graft.init))
    return Growth(base, base.grown(rows, untied=untied), added, assumed)


def _untied(untie: Any, init: str) -> bool:
    if untie != "auto":
        return bool(untie)
    return init == AUTO or len(set(parts_of(init))) > 1


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One stage.

    Attributes:
        learning: weights that learn.
        work: operations of a token.
        operations: of the whole stage, recomputation included.
        asked: the way the recipe trains, as memory goes.
        ways: all ways that were looked at.
        nearest: the way that fits and is nearest to `asked`; None where none fits.
        fewest: devices that are enough when they share the weights, where none fits.
        time: hours, with what many devices lose.
        sightings: how often a new row is seen on average; None without new rows.
        disk: bytes of tokenised text, of checkpoints, and of the stage's result.
    """

    name: str
    tokens: int
    learning: int
    work: Work
    operations: float
    asked: Choice
    ways: list[Choice]
    nearest: Choice | None
    fewest: int | None
    scaling: Scaling
    time: Time
    sightings: float | None
    disk: tuple[float, float, float]


def plan_stage(
    recipe: Recipe, stage: Training, tokens: int, grown: Growth, machine: Machine, document: float
) -> StagePlan:
    """Work, memory, time of one stage that reads `tokens` on a machine; `document` is the length
    of the document that a token stands in.
    """
    shape = grown.grown
    asked = setting_for(recipe, stage, shape, machine, machine.devices)
    ways = choices(shape, asked, machine.device, asked.shards, stage.row_tokens)
    chosen = next(way for way in ways if way.setting == asked)
    near = chosen if chosen.fits else nearest(ways, asked)
    used = (near or chosen).setting
    learning = asked.learning + asked.matrices * shape.matrix
    token = work(
        shape,
        learning=_multiplied(stage, shape, asked),
        mean_document=min(document, stage.row_tokens),
        checkpointing=used.checkpointing,
    )
    operations = token.executed * tokens
    compute = token.executed * stage.batch_tokens / machine.devices
    compute /= machine.device.peak * machine.device.shares[1]
    lost = scaling(
        compute,
        messages(shape.parameters, learning, machine.cluster, max(used.shards, 1)),
        machine.cluster,
    )
    return StagePlan(
        name=stage.name,
        tokens=tokens,
        learning=learning,
        work=token,
        operations=operations,
        asked=chosen,
        ways=ways,
        nearest=near,
        fewest=None if near else fewest_devices(shape, asked, machine.device, stage.row_tokens),
        scaling=lost,
        time=hours(operations, machine.device, machine.devices, lost.efficiency),
        sightings=_sightings(recipe, stage, grown.added),
        disk=_disk(stage, tokens, shape, learning, asked),
    )


def setting_for(
    recipe: Recipe, stage: Training, shape: Shape, machine: Machine, devices: int
) -> Setting:
    """The stage on `devices` devices of the machine's kind, sharded as the recipe says.

    Raises:
        BadInput: see `setting_of`.
    """
    hardware = recipe.hardware
    if hardware.precision == "auto" and not machine.device.bf16:
        hardware = hardware.model_copy(update={"precision": "fp32"})
    group = min(hardware.shard_group or devices, devices)
    return setting_of(stage, shape, hardware, devices, group)


def setting_of(
    stage: Training, shape: Shape, hardware: Hardware, devices: int, group: int
) -> Setting:
    """The stage as memory sees it.

    Raises:
        BadInput: a batch cannot be cut into whole rows for so many devices.
    """
    rows = stage.batch_tokens // stage.row_tokens
    if rows < devices:
        raise BadInput(
            f"{stage.name}: {rows} rows a batch (batch_tokens / row_tokens) cannot be "
            f"shared by {devices} devices; raise batch_tokens to {devices * stage.row_tokens:,}"
        )
    own = -(-rows // devices)
    micro = min(stage.micro_rows or own, own)
    matrices = 0 if stage.train == "layers" else 1 if shape.tied else 2
    if stage.train == "lora" and not stage.lora.embeddings:
        matrices = 0
    learning = {
        "full": shape.parameters - shape.embeddings,
        "layers": len(stage.layers) * shape.block,
        "lora": shape.lora(stage.lora.rank, stage.lora.targets),
    }.get(stage.train, 0)
    return Setting(
        learning=learning,
        matrices=matrices,
        inside=_inside(stage),
        rank=stage.lora.rank if stage.train == "lora" else 0,
        micro_tokens=micro * stage.row_tokens,
        accumulates=micro < own,
        shards=group,
        precision="fp32" if hardware.precision == "fp32" else "bf16",
        checkpointing=hardware.checkpointing,
        states=hardware.states,
        frozen=hardware.frozen if stage.train == "lora" else "fp32",
        coded=_coded(stage, shape) if hardware.frozen in CODED else 0,
        offload=hardware.offload == "all",
    )


def _coded(stage: Training, shape: Shape) -> int:
    """Weights of the layers under an adapter."""
    if stage.train != "lora":
        return 0
    return shape.layers * sum(math.prod(shape.linear(name)) for name in stage.lora.targets)


def _inside(stage: Training) -> Any:
    if stage.train == "lora":
        return "lora+dropout" if stage.lora.dropout else "lora"
    return "all" if stage.train in ("full", "layers") else "none"


def _multiplied(stage: Training, shape: Shape, setting: Setting) -> float:
    """Weights whose gradient is a product; an adapter's also cost their forward pass and the
    gradient of their input.
    """
    head = shape.matrix if setting.matrices else 0
    return (3 if stage.train == "lora" else 1) * setting.learning + head


def _sightings(recipe: Recipe, stage: Training, added: int) -> float | None:
    if not added or not isinstance(stage, Pretrain):
        return None
    code = recipe.language.code if recipe.language else ""
    return stage.tokens * (stage.mix.get(code, 1.0) if stage.mix else 1.0) / added


def _disk(
    stage: Training, tokens: int, shape: Shape, learning: int, setting: Setting
) -> tuple[float, float, float]:
    buckets = stage.buckets if isinstance(stage, Pretrain) else 1
    moments = {"fp32": 8, "bf16": 4, "8bit": 2}[setting.states]
    checkpoints = (stage.keep + buckets - 1) * (4 + moments) * learning
    return float(tokens * TOKEN_BYTES), float(checkpoints), 2.0 * shape.parameters
