"""`hardware:` where it runs."""

from __future__ import annotations

from typing import Literal

from langraft.recipe.section import Positive, Rate, Section


class Hardware(Section):
    """Where it runs. `auto` takes a GPU when there is one, and bf16 where the device computes in
    it. How many processes there are is said to `torchrun`, not here.

    Attributes:
        shard_group: ranks that share one copy of the weights; the others hold further copies
            (hybrid sharding). Default: all ranks share one.
        checkpointing: activations that are computed again in the backward pass: none, all but the
            matrix products and attention, or whole blocks.
        compile: compile every block.
        states: how Adam's moments are kept: 32 bit, bfloat16, or 8 bit in blocks.
        frozen: how weights that do not learn are kept (with `train: lora`): `bf16` halves them,
            `int8` and `nf4` keep those under the adapter in 8 or 4 bits (QLoRA).
        offload: what lies in the host's memory between uses, where devices have their own:
            `frozen`, models that do not learn (the reference and the reward model of PPO); `all`,
            also weights that learn, with gradients and moments.
        hang_seconds: how long a step may take before a rank that hangs is reported and the run
            ends; only with several ranks.
        track: where metrics go besides `metrics.jsonl`.
    """

    devices: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: Positive | None = None
    cluster: str | None = None
    shard_group: Positive | None = None
    checkpointing: Literal["none", "selective", "full"] = "none"
    compile: bool = False
    states: Literal["fp32", "bf16", "8bit"] = "fp32"
    frozen: Literal["fp32", "bf16", "int8", "nf4"] = "fp32"
    offload: Literal["none", "frozen", "all"] = "none"
    hang_seconds: Rate = 1_800
    track: tuple[Literal["tensorboard", "trackio"], ...] = ()
