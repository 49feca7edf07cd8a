"""Attention over packed documents, registered with transformers as `packed`.

The model gets one row of T tokens, resetting `position_ids`, no attention mask, and the documents'
boundaries. An attention
mask passed beside it, even all ones, would make transformers attend across documents.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "packed"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each document.

    Args:
        query: shape (1, query heads, T, head width); key and value (1, key heads, T, head width).
        attention_mask: must be None.
        scaling: multiplies the scores before the softmax.
        cu_seq_lens_q: boundaries of the documents, shape (documents + 1,), int32, from 0 to T.

    Returns:
        shape (1, T, query heads, head width), and None for the weights.
    """
    assert attention_mask is None, "packed rows take no attention mask"
    if query.is_cuda:
        return _varlen(query, key, value, cu_seq_lens_q, scaling), None
    edges = cu_seq_lens_q.tolist()
    gqa = query.shape[1] != key.shape[1]
    pieces = [
        F.scaled_dot_product_attention(
            query[:, :, a:b],
            key[:, :, a:b],
            value[:, :, a:b],
            is_causal=True,
            scale=scaling,
            enable_gqa=gqa,
        )
        for a, b in itertools.pairwise(edges)
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, scaling: float
) -> Tensor:
    """torch's variable-length flash attention; `torch.nested` jagged tensors reach it on every
    torch from 2.11 on.
    """
    lengths = int(boundaries.diff().max())

    def jagged(tensor: Tensor) -> Tensor:
        rows = tensor[0].transpose(0, 1)
        return torch.nested.nested_tensor_from_jagged(
            rows, boundaries.long(), max_seqlen=lengths
        ).transpose(1, 2)

    heads = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    out = F.scaled_dot_product_attention(
        jagged(query), jagged(key), jagged(value), is_causal=True, scale=scaling
    )
    return out.transpose(1, 2).values()[None]


def register() -> str:
    """Make `packed` known to transformers and return its name, for
    `model.set_attn_implementation`.
    """
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


def _no_mask(*_: Any, **__: Any) -> None:
    return None
