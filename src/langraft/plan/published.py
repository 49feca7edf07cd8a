"""The published runs that a plan is checked against: what the plan says of each, and what its
authors said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from langraft.plan.compute import Work, work
from langraft.plan.devices import DEVICES, GIB
from langraft.plan.memory import Setting, stored_memory, training_memory
from langraft.plan.shape import KNOWN, Shape
from langraft.recipe.training import LINEAR_LAYERS

LLAMA_7B, LLAMA_13B = "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-13b-hf"


@dataclasses.dataclass(frozen=True)
class Check:
    """One published number.

    Attributes:
        ours, theirs: the plan's number and the published one, in `unit`.
        why: what the plan assumed, and what explains the difference.
        enough: the publication gives what the number follows from, so that the two should agree
            within a quarter.
    """

    run: str
    unit: str
    ours: float
    theirs: float
    why: str
    enough: bool = True

    @property
    def ratio(self) -> float:
        """Ours by theirs."""
        return self.ours / self.theirs


def shape(base: str, rows: int) -> Shape:
    """A known base with `rows` rows."""
    return Shape.of(KNOWN[base], base).grown(rows, untied=False)


def _whole(model: Shape, row: int, checkpointing: str) -> Work:
    return work(model, learning=model.matmul, mean_document=row, checkpointing=checkpointing)


def colossal_hours() -> Check:
    """Colossal-LLaMA-2-7B: 8.5B tokens on 64 A800."""
    device = DEVICES["a800-80g"]
    token = _whole(shape(LLAMA_7B, 69_104), 4_096, "none").useful
    usual = device.shares[1]
    seconds = token * 8.5e9 / (64 * device.peak * usual)
    reached = token * 8.5e9 / (64 * 15 * 3_600 * device.peak)
    return Check(
        "Colossal-LLaMA-2-7B, 8.5B tokens, 64 A800",
        "hours",
        seconds / 3600,
        15.0,
        f"{token / 1e9:.1f} GFLOP a token (rows of 4,096 attended whole), the A800's usual "
        f"{usual:.0%} of its peak; 15 h are {reached:.0%}",
    )


def colossal_money() -> Check:
    """The same run's price."""
    device_hours = 64 * colossal_hours().ours
    return Check(
        "Colossal-LLaMA-2-7B, under $1,000",
        "$ a device-hour",
        1_000 / device_hours,
        1_000 / 960,
        f"{device_hours:,.0f} device-hours; under $1,000 holds below this price",
    )


def ziya_days() -> Check:
    """Ziya-LLaMA-13B: 110B tokens on 160 A100-40G at 118 TFLOP/s each."""
    model = shape(LLAMA_13B, 39_424)
    token = _whole(model, 2_048, "full")
    seconds = token.executed * 110e9 / (160 * 118e12)
    without = seconds * token.useful / token.executed / 86_400
    return Check(
        "Ziya-LLaMA-13B, 110B tokens, 160 A100-40G at 118 TFLOP/s",
        "days",
        seconds / 86_400,
        8.0,
        f"{token.executed / 1e9:.0f} GFLOP a token with whole blocks computed again, as 118 "
        f"TFLOP/s are usually counted (without: {without:.1f} days); the rest is loss spikes and "
        "restarts, which the card mentions",
    )


def chinese_llama_adapter() -> Check:
    """The LoRA file of Chinese-LLaMA-2-7B: rank 64 and both matrices."""
    model = shape(LLAMA_7B, 55_296)
    stored = model.lora(64, LINEAR_LAYERS) + model.embeddings
    return Check(
        "Chinese-LLaMA-2-LoRA-7B's adapter",
        "GiB",
        2 * stored / GIB,
        1.1,
        f"{stored / 1e6:,.0f}M weights in 16 bit: rank 64 on seven layers of every block, both "
        "matrices of 55,296 rows",
    )


def ricardo_samples() -> Check:
    """RicardoLee's 50W LoRA: 500k samples on 8 V100 in 21 hours, as tokens a sample."""
    model, device = shape(LLAMA_7B, 49_954), DEVICES["v100-32g"]
    adapter = model.lora(64, LINEAR_LAYERS)
    token = work(model, learning=3 * adapter, mean_document=512, checkpointing="full").executed
    possible = 21 * 3600 * 8 * device.peak * device.shares[0] / token
    return Check(
        "RicardoLee 50W LoRA, 500k samples, 8 V100, 21 h",
        "tokens a sample",
        possible / 500_000,
        512.0,
        "the card gives no lengths: 21 h at a V100's poor 20 % would read this many tokens a "
        "sample; padded to 512, the run reached about "
        f"{0.2 * 512 * 500_000 / possible:.0%} of the peak",
        enough=False,
    )


def ziya_ppo_memory() -> Check:
    """Four 13B models for PPO on 8 x 40 GB, all weights of policy and critic learning."""
    model, device = shape(LLAMA_13B, 39_424), DEVICES["a100-40g"]
    learner = Setting(
        learning=model.parameters - model.embeddings,
        matrices=2,
        inside="all",
        rank=0,
        micro_tokens=2_048,
        accumulates=True,
        shards=8,
        checkpointing="full",
    )
    everything = 2 * training_memory(model, learner).total
    offloaded = dataclasses.replace(learner, offload=True)
    host = 2 * stored_memory(model, offloaded) * 8
    frozen = 2 * 2 * model.parameters / 8
    used = 2 * training_memory(model, offloaded).total + device.context
    return Check(
        "Ziya's PPO, 13B, all weights, 8 x 40 GB",
        "GiB a device",
        used / GIB,
        40.0,
        f"policy and critic of 13B sharded over 8, their weights, gradients and moments in the "
        f"host ({host / GIB:,.0f} GiB; hardware.offload: all), as are reference and reward model "
        f"({frozen * 8 / GIB:,.0f}); with everything on the devices it would be "
        f"{(everything + frozen) / GIB:,.0f}",
        enough=False,
    )


CHECKS: tuple[Callable[[], Check], ...] = (
    colossal_hours,
    colossal_money,
    ziya_days,
    ricardo_samples,
    ziya_ppo_memory,
    chinese_llama_adapter,
)
