"""Floating-point operations of a training step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from langraft.core.compute import token_flops


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
        """One step over documents of these lengths; see `langraft.core.compute.token_flops`."""
        tokens = float(lengths.sum())
        mean_document = float((lengths.astype(np.float64) ** 2).sum()) / tokens
        each = token_flops(self.matmul, self.learning, self.attention, mean_document)
        return tokens * each


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
