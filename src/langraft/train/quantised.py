"""Weights that do not learn, kept in 8 or 4 bits under an adapter (QLoRA, arXiv 2305.14314).

Plain torch, so that it runs wherever the model does. Products are taken with the weights spread out
again, one layer at a time, and once more in the backward pass.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from langraft.train.shard import blocks

Bits = Literal["int8", "nf4"]
BLOCK = 64  # weights that share a scale in NF4
# QLoRA, appendix E: quantiles of a normal distribution, as many below zero as above and zero itself.
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of shape (out, in), int8, and a scale a row, shape (out, 1): the row's largest size is
    127.
    """
    scales = weight.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (weight / scales).round().to(torch.int8), scales


def nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two codes a byte, shape (ceil(out x in / BLOCK), BLOCK / 2), uint8, and a scale a block, shape
    (blocks, 1): the block's largest size.
    """
    flat = weight.reshape(-1)
    rows = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scales = rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    levels = torch.tensor(NF4, device=weight.device)
    codes = torch.bucketize(rows / scales, (levels[1:] + levels[:-1]) / 2).to(torch.uint8)
    return codes[:, 0::2] << 4 | codes[:, 1::2], scales


def spread(codes: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
    """The weights that codes and scales stand for, float32, of that shape."""
    if codes.dtype == torch.int8:
        return codes * scales
    levels = torch.tensor(NF4, device=codes.device)
    both = torch.stack([levels[(codes >> 4).long()], levels[(codes & 15).long()]], -1)
    return (both.view(len(codes), BLOCK) * scales).view(-1)[: shape[0] * shape[1]].view(shape)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, codes: Tensor, scales: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(codes, scales)
        ctx.shape = shape
        return inputs @ spread(codes, scales, shape).to(inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        weight = spread(*ctx.saved_tensors, ctx.shape).to(grads[0].dtype)
        return grads[0] @ weight, None, None, None


class QuantisedLinear(nn.Linear):
    """A linear layer whose weight is kept in 8 or 4 bits and does not learn."""

    codes: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear, bits: Bits) -> None:
        """Take over `layer`."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        codes, scales = {"int8": int8, "nf4": nf4}[bits](layer.weight.detach().float())
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.bias = layer.bias

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight spread out, float32, shape (out, in)."""
        return spread(self.codes, self.scales, (self.out_features, self.in_features))

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`."""
        if torch.is_autocast_enabled(input.device.type):
            input = input.to(torch.get_autocast_dtype(input.device.type))
        shape = (self.out_features, self.in_features)
        found: Tensor = _Product.apply(input, self.codes, self.scales, shape)
        return found if self.bias is None else found + self.bias.to(found.dtype)


def quantise(model: PreTrainedModel, bits: Bits) -> None:
    """Quantise every linear layer of the model's blocks, in place; those that are stay as they are."""
    for block in blocks(model):
        for parent in list(block.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear) and not isinstance(layer, QuantisedLinear):
                    setattr(parent, name, QuantisedLinear(layer, bits))
