"""Attention over packed documents, registered with transformers as `packed`.

The model gets one row of T tokens, resetting `position_ids`, no attention mask, and the documents'
boundaries. An attention
mask passed beside it, even all ones, would make transformers attend across documents.
"""

from __future__ import annotations

import functools
import inspect
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
    max_length_q: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each document.

    Args:
        query: shape (1, query heads, T, head width); key and value (1, key heads, T, head width).
        attention_mask: must be None.
        scaling: multiplies the scores before the softmax.
        cu_seq_lens_q: boundaries of the documents, shape (documents + 1,), int32, from 0 to T.
        max_length_q: tokens of the longest document, or more.

    Returns:
        shape (1, T, query heads, head width), and None for the weights.
    """
    assert attention_mask is None, "packed rows take no attention mask"
    if query.is_cuda and value.dtype in (torch.bfloat16, torch.float16):
        return _varlen(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    return _document_by_document(query, key, value, cu_seq_lens_q, scaling), None


@torch.compiler.disable
def _document_by_document(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, scaling: float
) -> Tensor:
    """torch's own attention on one document after the other; a compiler would unroll the loop for
    every set of boundaries.
    """
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
        for a, b in itertools.pairwise(boundaries.tolist())
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2)


@functools.cache
def _varlen_knows() -> frozenset[str]:
    """What torch's variable-length attention can be asked: its arguments changed from release to
    release.
    """
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, longest: int, scaling: float
) -> Tensor:
    """torch's variable-length flash attention: one call for all documents, no synchronisation."""
    from torch.nn.attention.varlen import varlen_attn

    known = _varlen_knows()
    options: dict[str, Any] = {"is_causal": True} if "is_causal" in known else {}
    if "window_size" in known:
        options = {"window_size": (-1, 0)}  # every key to the left, none to the right
    if "scale" in known:
        options["scale"] = scaling
    else:
        query = query * (scaling * query.shape[-1] ** 0.5)
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" in known:
            options["enable_gqa"] = True
        else:
            heads = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    attend: Any = varlen_attn
    rows = [t[0].transpose(0, 1).to(value.dtype) for t in (query, key, value)]
    out = attend(*rows, boundaries, boundaries, longest, longest, **options)
    return out[None]


def register() -> str:
    """Make `packed` known to transformers and return its name, for
    `model.set_attn_implementation`.
    """
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


def _no_mask(*_: Any, **__: Any) -> None:
    return None
