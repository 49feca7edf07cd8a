"""Floating-point operations of a training step, and what devices could do."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

# Dense bfloat16 FLOP/s of one device, from the makers' data sheets, by a part of torch's name.
PEAK = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """What decides the operations a token.

    Attributes:
        matmul: weights that every token is multiplied with: all matrices but the input embedding.
        learning: those of them whose gradient is computed.
        attention: layers x query heads x head width.
    """

    matmul: int
    learning: int
    attention: int

    def flops(self, lengths: NDArray[np.int64]) -> float:
        """One step over documents of these lengths: forward, gradients of activations, gradients
        of what learns; recomputation is not counted.

        A product with N weights costs 2 N a token each way, attention of a document of n tokens
        2 n^2 x (heads x width) a layer forward and twice that back, because it is causal.
        """
        tokens = float(lengths.sum())
        squares = float((lengths.astype(np.float64) ** 2).sum())
        return tokens * (4 * self.matmul + 2 * self.learning) + 6 * self.attention * squares


def shape_of(model: PreTrainedModel, learns: set[str]) -> Shape:
    """The shape of `model` when the parameters named in `learns` learn (before any sharding)."""
    config: Any = model.config
    output = model.get_output_embeddings()  # a reward model has none
    head = None if output is None else output.weight
    embedded = model.get_input_embeddings().weight
    matrices = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and parameter is not embedded
    }
    if head is not None and head is embedded:
        matrices["lm_head.weight"] = head
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        matmul=sum(p.numel() for p in matrices.values()),
        learning=sum(p.numel() for n, p in matrices.items() if n in learns or p is embedded),
        attention=config.num_hidden_layers * config.num_attention_heads * width,
    )


def peak_flops(device_name: str, devices: int) -> float | None:
    """What `devices` devices of this name could do in a second; None where it is not known."""
    known = (peak for name, peak in PEAK.items() if name in device_name)
    return next((peak * devices for peak in known), None)
