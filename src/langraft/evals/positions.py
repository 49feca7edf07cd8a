"""Bits per UTF-8 byte by position in the context: where a model stops making use of what it reads,
or breaks.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.evals.bits import plain_attention, token_logprobs


@dataclasses.dataclass(frozen=True)
class Span:
    """What a model spends on the tokens at positions `first` to `last` - 1 of its context."""

    first: int
    last: int
    nats: float
    bytes: int

    @property
    def per_byte(self) -> float:
        """Bits per UTF-8 byte: nats / ln 2 / bytes; not a number without bytes."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan


def edges(length: int, spans: int) -> list[int]:
    """Where `spans` equal spans of a context of `length` tokens begin, and `length`.

    Position 0 is the start token, which nothing predicts, so the first span begins at 1.

    Raises:
        BadInput: fewer tokens than spans.
    """
    if not 0 < spans < length:
        raise BadInput(f"positions: {length} tokens cannot be cut into {spans} spans")
    return [max(1, round(length * k / spans)) for k in range(spans + 1)]


def stretches(
    encoded: Sequence[Sequence[int]], start: int, length: int, most: int
) -> list[list[int]]:
    """At most `most` stretches of `length` ids, each opened by `start` and within one document;
    one from every document before a second from any.

    Raises:
        BadInput: no document is so long.
    """
    size = length - 1
    rounds = max((len(ids) // size for ids in encoded), default=0)
    found = [
        [start, *ids[turn * size : (turn + 1) * size]]
        for turn in range(rounds)
        for ids in encoded
        if len(ids) >= (turn + 1) * size
    ]
    if not found:
        longest = max((len(ids) for ids in encoded), default=0)
        raise BadInput(
            f"positions: no document has {size} tokens (the longest has {longest}); "
            "give longer documents or a shorter --length"
        )
    return found[:most]


def bits_by_position(
    model: PreTrainedModel,
    texts: Sequence[Sequence[int]],
    byte_lengths: Sequence[int],
    bounds: Sequence[int],
    *,
    autocast: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> list[Span]:
    """Read each of `texts` once, whole, and add up what every span of positions costs.

    Args:
        texts: ids of one length each, as `stretches` gives them.
        byte_lengths: UTF-8 bytes that each id spells.
        bounds: as `edges` gives them.
        autocast: compute in bfloat16.
        tick: called after every text.
    """
    device = next(model.parameters()).device
    head = model.get_output_embeddings().weight.detach()
    head = head.to(torch.bfloat16) if autocast else head
    sizes = np.asarray(byte_lengths)
    nats, counted = np.zeros(len(bounds) - 1), np.zeros(len(bounds) - 1, dtype=np.int64)
    with plain_attention(model):
        for ids in texts:
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                batch = torch.tensor([list(ids)], device=device)
                found = token_logprobs(model, head, batch)[0].double().cpu().numpy()
            spelt = sizes[np.asarray(ids)]
            for k, (first, last) in enumerate(itertools.pairwise(bounds)):
                nats[k] -= found[first - 1 : last - 1].sum()
                counted[k] += int(spelt[first:last].sum())
            tick()
    return [
        Span(first, last, float(cost), int(size))
        for (first, last), cost, size in zip(itertools.pairwise(bounds), nats, counted, strict=True)
    ]
