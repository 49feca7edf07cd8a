"""Memory of the stages that learn from feedback: every model that such a stage needs."""

from __future__ import annotations

import dataclasses
from typing import Any

from langraft.plan.memory import MARGIN, Setting, stored_memory, training_memory
from langraft.plan.shape import Shape
from langraft.plan.stages import Growth, Machine, setting_of
from langraft.recipe import Dpo, Grpo, Hardware, Ppo, Recipe, Reward

Align = Reward | Dpo | Ppo | Grpo


@dataclasses.dataclass(frozen=True)
class Held:
    """Bytes of one model on a device and in the host's memory, by device."""

    model: str
    device: float
    host: float


def feedback_memory(recipe: Recipe, grown: Growth, machine: Machine) -> list[dict[str, Any]]:
    """What each `align` stage holds on one device, model by model, at its fullest moment; how long
    it takes depends on answers that nobody knows yet.
    """
    found = []
    for stage in recipe.align:
        models = held(stage, grown.grown, recipe.hardware, machine)
        total = sum(one.device for one in models) + machine.device.context
        found.append(
            {
                "name": stage.name,
                "method": stage.method,
                "models": [dataclasses.asdict(one) for one in models],
                "total": total,
                "host": sum(one.host for one in models) * machine.devices,
                "fits": total <= machine.device.memory,
            }
        )
    return found


def held(stage: Align, shape: Shape, hardware: Hardware, machine: Machine) -> list[Held]:
    """The models of one stage: the policy, and with PPO and GRPO the reference, the critic, the
    reward model, and the cache that answers are sampled with.
    """
    if isinstance(stage, Ppo | Grpo):
        return _onpolicy(stage, shape, hardware, machine)
    setting = _setting(stage, stage.longest, 2 * stage.pairs, 2, shape, hardware, machine)
    return [_learner(shape, setting)]


def _onpolicy(stage: Ppo | Grpo, shape: Shape, hardware: Hardware, machine: Machine) -> list[Held]:
    longest, answers = stage.longest + stage.new_tokens, stage.questions * stage.group
    rows = answers // stage.minibatches
    setting = _setting(stage, longest, rows, 1, shape, hardware, machine)
    policy = _learner(shape, setting)
    models = [policy]
    if isinstance(stage, Ppo) and stage.critic == "own":
        models.append(dataclasses.replace(policy, model="critic"))
    frozen = (4 if hardware.precision == "fp32" else 2) * shape.parameters / setting.shards
    away = hardware.offload != "none"
    others = ([] if stage.train == "lora" else ["reference"]) + (["reward"] if stage.reward else [])
    models += [Held(name, 0.0 if away else frozen, frozen if away else 0.0) for name in others]
    each = -(-answers // machine.devices)
    at_once = min(stage.answers_at_once or each, each)
    cache = 2 * 2 * shape.layers * shape.keys * at_once * longest * (1 + MARGIN)
    # answers are sampled between steps: the cache takes the place of activations
    kept = training_memory(shape, setting).activations
    return [*models, Held("cache beyond activations", max(0.0, cache - kept), 0.0)]


def _setting(
    stage: Align,
    longest: int,
    rows: int,
    each: int,
    shape: Shape,
    hardware: Hardware,
    machine: Machine,
) -> Setting:
    """The stage as memory sees it: `rows` sequences a step, `each` of them a pair or an answer."""
    changes = {
        "row_tokens": longest,
        "batch_tokens": longest * max(rows, machine.devices),
        "micro_rows": (stage.micro_rows or rows // each) * each,
    }
    group = min(hardware.shard_group or machine.devices, machine.devices)
    asked = stage.model_copy(update=changes)
    return setting_of(asked, shape, hardware, machine.devices, group)


def _learner(shape: Shape, setting: Setting) -> Held:
    kept = stored_memory(shape, setting) if setting.offload else 0.0
    return Held("policy", training_memory(shape, setting).total, kept)
