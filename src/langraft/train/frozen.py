"""How weights that do not learn are kept: as they are, in bfloat16, or under an adapter in 8 or 4
bits (QLoRA, T. Dettmers et al., arXiv 2305.14314).
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.core.messages import warn
from langraft.train.precision import Device
from langraft.train.trainable import adapted_layers

Kept = Literal["fp32", "bf16", "int8", "nf4"]
BLOCK = 64  # weights that share a scale


def keep_frozen(model: PreTrainedModel, chosen: Container[str], how: Kept, device: Device) -> None:
    """Make what does not learn small, in place.

    `int8` and `nf4` hold for the layers that have an adapter; all else is kept in bfloat16 where
    products are taken in it.

    Args:
        chosen: the names of what learns.

    Raises:
        BadInput: `bf16` without products in bfloat16.
    """
    if how == "bf16" and not device.bf16:
        raise BadInput("hardware.frozen: bf16 needs hardware.precision bf16 as well")
    if how == "fp32" or all(name in chosen for name, _ in model.named_parameters()):
        return
    layers = adapted_layers(model).values() if how in ("int8", "nf4") else ()
    if how != "bf16" and not layers:
        warn(f"hardware.frozen: {how} is for layers under an adapter, and this stage has none")
    for layer in layers:
        plain = cast(nn.Linear, layer.base_layer)
        layer.base_layer = CodedLinear(plain.to(device.name), how)
    if device.bf16:
        for name, parameter in model.named_parameters():
            if name not in chosen:
                parameter.data = parameter.data.to(torch.bfloat16)


@cache
def code_values(how: str) -> Tensor:
    """The values that codes stand for, from -1 to 1, sorted, float32.

    `int8`: 255 steps of one size. `nf4`: 16 quantiles of a normal distribution, one of them 0
    (QLoRA, section 3 and appendix E).
    """
    if how == "int8":
        return torch.arange(-127, 128, dtype=torch.float64).div(127).float()
    most = 1 - (1 / 30 + 1 / 32) / 2  # so that the outermost quantiles are finite
    above = torch.special.ndtri(torch.linspace(most, 0.5, 9, dtype=torch.float64)[:-1])
    below = -torch.special.ndtri(torch.linspace(most, 0.5, 8, dtype=torch.float64)[:-1])
    values = torch.cat([below, torch.zeros(1, dtype=torch.float64), above.flip(0)])
    return (values / values.abs().max()).float()


def encode(weight: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Codes and scales of a matrix.

    Returns:
        the codes, uint8, one or (`nf4`) two a byte, and the largest magnitude of every `BLOCK`
        weights, float32; both flat. A matrix that is no multiple of a block is padded with zeros.
    """
    flat = F.pad(weight.detach().float().flatten(), (0, -weight.numel() % BLOCK))
    blocks = flat.view(-1, BLOCK)
    scales = blocks.abs().amax(-1)
    values = code_values(how).to(weight.device)
    borders = (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(blocks / scales.clamp_min(1e-38)[:, None], borders).to(torch.uint8)
    codes = codes.flatten()
    return (codes[0::2] << 4 | codes[1::2]) if how == "nf4" else codes, scales


def decode(
    codes: Tensor, scales: Tensor, how: str, shape: torch.Size, dtype: torch.dtype
) -> Tensor:
    """The matrix that codes and scales stand for."""
    values = code_values(how).to(codes.device)
    whole = torch.stack([codes >> 4, codes & 15], -1).flatten() if how == "nf4" else codes
    blocks = values[whole.int()].view(-1, BLOCK) * scales[:, None]
    return blocks.flatten()[: shape.numel()].view(shape).to(dtype)


class CodedLinear(nn.Module):
    """A linear layer that does not learn, whose weights exist only while they are multiplied."""

    codes: Tensor
    scales: Tensor

    def __init__(self, plain: nn.Linear, how: str) -> None:
        super().__init__()
        self.how, self.shape = how, plain.weight.shape
        codes, scales = encode(plain.weight, how)
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("scales", scales, persistent=False)
        self.bias = plain.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (..., in) -> (..., out), products in the dtype that autocast asks for."""
        kind = inputs.device.type
        if torch.is_autocast_enabled(kind):
            inputs = inputs.to(torch.get_autocast_dtype(kind))
        found = _CodedProduct.apply(inputs, self.codes, self.scales, self.how, self.shape)
        return cast(Tensor, found if self.bias is None else found + self.bias.to(found.dtype))


class _CodedProduct(torch.autograd.Function):
    """inputs @ weight.T that keeps the codes for the backward pass, not the weight."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, codes: Tensor, scales: Tensor, how: str, shape: torch.Size
    ) -> Tensor:
        ctx.save_for_backward(codes, scales)
        ctx.how, ctx.shape = how, shape
        return F.linear(inputs, decode(codes, scales, how, shape, inputs.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        codes, scales = ctx.saved_tensors
        return grads[0] @ decode(codes, scales, ctx.how, ctx.shape, grads[0].dtype), *(None,) * 4
