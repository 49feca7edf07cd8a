"""Parallelism, applied from outside: the model knows nothing of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)
from transformers import PreTrainedModel

from langraft.train.ranks import Ranks

# What `selective` keeps: the results that cost a matrix product or an attention.
KEPT = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._flash_attention_forward.default,
}


def blocks(model: PreTrainedModel) -> list[nn.Module]:
    """The transformer blocks, bottom to top."""
    critic = getattr(model, "critic", None)  # of PPO, trained with the policy
    return [*model.base_model.layers, *(() if critic is None else critic.base_model.layers)]


def call_through(model: PreTrainedModel, function: Callable[..., Any]) -> None:
    """Make `model(...)` call `function(...)`, so that whatever hangs on the model's call (gathering
    the root's sharded weights) happens around it.
    """
    model.forward = function


def spare_activations(model: PreTrainedModel, how: str) -> None:
    """Compute activations of every block again in the backward pass: `none`, `selective` (all but
    matrix products and attention) or `full`.
    """
    if how == "none":
        return
    contexts = functools.partial(create_selective_checkpoint_contexts, _keep)
    more: dict[str, Any] = {"context_fn": contexts} if how == "selective" else {}
    for block in blocks(model):
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False, **more)


def _keep(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    known = operation in KEPT or "_varlen_attn" in str(operation)
    return CheckpointPolicy.MUST_SAVE if known else CheckpointPolicy.PREFER_RECOMPUTE


def parallelise(
    model: PreTrainedModel,
    ranks: Ranks,
    *,
    bf16: bool,
    checkpointing: str,
    compiled: bool,
    offload: bool = False,
) -> None:
    """Checkpoint activations, compile, and shard `model` in place, block by block.

    The embedding matrices stay together in the root's group, tied or not; adapters must be in
    place before. Weights that learn stay float32 in their shards; with `bf16` they are gathered and
    computed with in bfloat16, gradients are summed in float32.

    Args:
        offload: shards, and with them gradients and the optimiser's moments, stay in the host's
            memory; a block's weights come to the device when it is computed.
    """
    spare_activations(model, checkpointing)
    if compiled:
        for block in blocks(model):
            block.compile()
    if ranks.mesh is None:
        return
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32
    )
    more: dict[str, Any] = {"mesh": ranks.mesh, "mp_policy": policy}
    if offload:
        more["offload_policy"] = CPUOffloadPolicy(pin_memory=ranks.mesh.device_type == "cuda")
    for block in blocks(model):
        fully_shard(block, **more)
    fully_shard(model, **more)


def hold_back_copies(model: PreTrainedModel, last: bool) -> None:
    """Sum gradients over the copies of hybrid sharding only after the `last` micro-batch."""
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(last)


@contextmanager
def gathered(model: PreTrainedModel) -> Iterator[None]:
    """Hold the root's weights (the embedding matrices) whole, so that blocks can be called around
    the model's own call; every rank must come here.
    """
    if isinstance(model, FSDPModule):
        model.unshard()
        try:
            yield
        finally:
            model.reshard()
    else:
        yield


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor, sharing memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def first_row(tensor: torch.Tensor) -> int:
    """The index of the first row that this rank holds."""
    if not isinstance(tensor, DTensor):
        return 0
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(
        tensor.shape, tensor.device_mesh, tensor.placements
    )
    return int(offset[0]) if offset else 0


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor on the CPU; every rank must come here."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu()
