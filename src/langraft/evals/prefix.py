"""Rows read against a prefix that is computed once: attention over a shared past plus the row's
own, joined exactly by their log-sums.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from langraft.evals.rows import Row

NAME = "shared_prefix"
HEAD_ROWS = 512
Prefix = list[tuple[Tensor, Tensor]]


def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum of its scores.

    Args:
        query, key, value: shape (batch, heads, length, width), the same number of heads.

    Returns:
        shape (batch, heads, queries, width), and the log-sums (batch, heads, queries) in float32.
    """
    ops = torch.ops.aten
    if query.device.type == "cpu":
        return ops._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, scale=scale
        )
    if query.is_cuda and query.dtype != torch.float32:
        return ops._scaled_dot_product_flash_attention(
            query, key, value, 0.0, causal, False, scale=scale
        )[:2]
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if causal:
        length = scores.shape[-1]
        later = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(-1).to(value.dtype) @ value, scores.logsumexp(-1)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the ids of several rows stand when they are written one after another.

    Attributes:
        place: of each id of each row in the whole, shape (rows, longest); any place behind a row's
            end.
        back: of each id of the whole in `place`, flattened.
    """

    place: Tensor
    back: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Layout:
        """The layout of rows of these lengths."""
        longest, starts = max(lengths), itertools.accumulate(lengths, initial=0)
        steps = torch.arange(longest)
        place = torch.tensor(list(starts)[:-1])[:, None] + steps
        kept = (steps < torch.tensor(lengths)[:, None]).flatten()
        back = kept.nonzero()[:, 0]
        return cls(place.clamp(max=sum(lengths) - 1).to(device), back.to(device))

    def apart(self, whole: Tensor) -> Tensor:
        """(1, heads, all, width) to (rows, heads, longest, width)."""
        return whole[0][:, self.place].transpose(0, 1)

    def together(self, rows: Tensor) -> Tensor:
        """(rows, heads, longest, ...) to (1, heads, all, ...)."""
        return rows.transpose(0, 1).flatten(1, 2)[:, self.back][None]


def prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    layout: Layout,
    prefix: Prefix | None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each row and full attention over the shared prefix.

    With a and b the log-sums of the scores over the prefix and over the row itself, the softmax
    over both is the two attentions weighed by sigmoid(a - b) and its rest. The prefix's keys are
    never copied: all queries of one key head meet them in one product. Rows stand behind one
    another without padding, and are laid apart only where they attend to themselves.

    Args:
        query: shape (1, query heads, all rows' ids, width); key and value (1, key heads, ...).
        attention_mask: must be None.
        prefix: keys and values by layer, shape (1, key heads, prefix, width), or nothing.
    """
    assert attention_mask is None, "rows on a shared prefix take no attention mask"
    heads, length, width = query.shape[1:]
    key_heads = key.shape[1]
    many = heads // key_heads
    own, own_sum = attend(
        layout.apart(query),
        layout.apart(key).repeat_interleave(many, 1),
        layout.apart(value).repeat_interleave(many, 1),
        scaling,
        True,
    )
    own, own_sum = layout.together(own), layout.together(own_sum)
    if prefix is None:
        return own.transpose(1, 2), None
    past_key, past_value = prefix[module.layer_idx]  # type: ignore[index]
    folded = query.reshape(1, key_heads, many * length, width)
    past, past_sum = attend(folded, past_key, past_value, scaling, False)
    share = torch.sigmoid(past_sum.reshape(1, heads, length) - own_sum)[..., None]
    joined = own + share.to(own.dtype) * (past.reshape(1, heads, length, width) - own)
    return joined.transpose(1, 2), None


def shares_prefix(model: PreTrainedModel) -> bool:
    """Whether the model's attention is plain causal attention in every layer, so that a prefix can
    be shared; with sliding windows or capped scores rows are read whole.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or {"full_attention"})
    sliding = getattr(config, "sliding_window", None) if "layer_types" not in config else None
    capped = getattr(config, "attn_logit_softcapping", None)
    return kinds == {"full_attention"} and not sliding and not capped


@contextlib.contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """The model with another attention, in evaluation mode."""
    before, training = model.config._attn_implementation, model.training
    model.set_attn_implementation(name)
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        model.train(training)


def register() -> str:
    """Make the attention known to transformers; returns its name."""
    AttentionInterface.register(NAME, prefix_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


def _no_mask(*_: Any, **__: Any) -> None:
    return None


@torch.no_grad()
def read_prefix(model: PreTrainedModel, ids: Sequence[int]) -> Prefix:
    """Keys and values of `ids` in every layer."""
    device = next(model.parameters()).device
    cache = DynamicCache()
    with attention(model, "sdpa"):
        model.base_model(
            input_ids=torch.tensor([list(ids)], device=device),
            past_key_values=cache,
            use_cache=True,
        )
    return [(layer.keys, layer.values) for layer in cache.layers]


@torch.no_grad()
def read_rows(
    model: PreTrainedModel, rows: Sequence[Row], skip: int, prefix: Prefix | None
) -> list[Tensor]:
    """The last hidden states at each row's scored places, shape (asks, width) a row; the rows are
    read one after another without padding.

    Args:
        skip: leading ids of every row that `prefix` stands for.
    """
    device = next(model.parameters()).device
    lengths = [len(row.ids) - skip for row in rows]
    ids = torch.tensor([list(itertools.chain.from_iterable(row.ids[skip:] for row in rows))])
    positions = torch.cat([torch.arange(skip, skip + length) for length in lengths])[None]
    with attention(model, register()):
        hidden = model.base_model(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            use_cache=False,
            layout=Layout.of(lengths, device),
            prefix=prefix,
        ).last_hidden_state[0]
    starts = list(itertools.accumulate(lengths, initial=-skip, func=lambda a, b: a + b))
    return [
        hidden[[start + ask.at for ask in row.asks]]
        for start, row in zip(starts, rows, strict=False)
    ]


@torch.no_grad()
def read_padded(model: PreTrainedModel, rows: Sequence[Row]) -> list[Tensor]:
    """The same with the model's own attention over whole rows padded on the right, for models whose
    attention is of another kind, and to check the other way against.
    """
    device = next(model.parameters()).device
    longest = max(len(row.ids) for row in rows)
    padded = torch.tensor([[*row.ids, *[0] * (longest - len(row.ids))] for row in rows])
    with attention(model, "sdpa"):
        hidden = model.base_model(input_ids=padded.to(device), use_cache=False).last_hidden_state
    return [hidden[number, [ask.at for ask in row.asks]] for number, row in enumerate(rows)]


@torch.no_grad()
def opinions(
    model: PreTrainedModel, rows: Sequence[Row], states: Sequence[Tensor], likelihood: bool
) -> list[list[float]]:
    """The logit of each ask, or its log-probability.

    Only the head's rows that are needed are multiplied: those of the asked tokens for logits, all
    of them, some places at a time, for log-probabilities.
    """
    head = model.get_output_embeddings()
    flat = torch.cat(list(states))
    tokens = torch.tensor([a.token for row in rows for a in row.asks], device=flat.device)
    if likelihood:
        found = []
        for start in range(0, len(flat), HEAD_ROWS):
            part = slice(start, start + HEAD_ROWS)
            logits = _shaped(model, head(flat[part]).float())
            chosen = logits.gather(-1, tokens[part, None])[:, 0]
            found.append(chosen - logits.logsumexp(-1))
        values = torch.cat(found)
    else:
        values = (flat.float() * head.weight[tokens].float()).sum(-1)
        if head.bias is not None:
            values = values + head.bias[tokens].float()
        values = _shaped(model, values)
    plain = iter(values.tolist())
    return [[next(plain) for _ in row.asks] for row in rows]


def _shaped(model: PreTrainedModel, logits: Tensor) -> Tensor:
    """Logits as the model's own forward pass gives them: scaled (Cohere, Granite) and capped
    (Gemma).
    """
    config = model.config.get_text_config()
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)
    logits = logits / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if not cap else cap * torch.tanh(logits / cap)
