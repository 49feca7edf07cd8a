"""Greedy writing for many prompts that begin alike: the common beginning is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from langraft.evals.prefix import Prefix, attention

LOOK = 8


@torch.no_grad()
def write(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    prefix: Prefix | None,
    *,
    skip: int,
    new_tokens: int,
    ends: frozenset[int],
    finished: Callable[[list[int]], bool] = lambda ids: False,
) -> list[list[int]]:
    """What the model writes after each prompt, most likely token by token.

    Args:
        prompts: ids of each; the first `skip` of them are the same and stand in `prefix`.
        new_tokens: at most so many are written.
        ends: ids that end a text; they are not part of it.
        finished: whether what is written so far needs no more, asked now and then.
    """
    device = next(model.parameters()).device
    longest = max(len(prompt) for prompt in prompts) - skip
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    seen = torch.ones(len(prompts), skip + longest, dtype=torch.long)
    for number, prompt in enumerate(prompts):
        own = torch.tensor(prompt[skip:])
        ids[number, longest - len(own) :] = own  # on the right, so that all go on together
        seen[number, skip : skip + longest - len(own)] = 0
    cache, ids, seen = _cache(prefix, len(prompts)), ids.to(device), seen.to(device)
    texts: list[list[int]] = [[] for _ in prompts]
    open_ = set(range(len(prompts)))
    with attention(model, "sdpa"):
        for step in range(new_tokens):
            tokens = _next(model, ids, seen, cache)
            ids = tokens[:, None]
            seen = torch.cat([seen, seen.new_ones(len(prompts), 1)], dim=1)
            for number, token in enumerate(tokens.tolist()):
                if number not in open_:
                    continue
                if token in ends:
                    open_.discard(number)
                else:
                    texts[number].append(token)
            if step % LOOK == LOOK - 1:
                open_ -= {number for number in open_ if finished(texts[number])}
            if not open_:
                break
    return texts


def _next(model: PreTrainedModel, ids: Tensor, seen: Tensor, cache: DynamicCache) -> Tensor:
    """The most likely next token of every row."""
    positions = (seen.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    found = model(
        input_ids=ids,
        attention_mask=seen,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return found.logits[:, -1].argmax(-1)


def _cache(prefix: Prefix | None, rows: int) -> DynamicCache:
    """A cache that begins with the prefix in every row."""
    cache = DynamicCache()
    for layer, (key, value) in enumerate(prefix or ()):
        cache.update(key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1), layer)
    return cache
