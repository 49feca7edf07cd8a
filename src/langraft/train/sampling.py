"""Answers sampled from a model that learns: behind one small interface, so that another engine can
give them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import DynamicCache, PreTrainedModel

from langraft.train.precision import Device
from langraft.train.ranks import ALONE, Ranks


class Sampler(Protocol):
    """Where answers come from."""

    def __call__(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> list[list[int]]:
        """The ids of one answer to each prompt, drawn by its seed, the end token included where it
        came; the same on every rank.
        """
        ...


@contextmanager
def answering(model: PreTrainedModel, device: Device) -> Iterator[None]:
    """The model on its device and as transformers knows it, for generation before, in the middle
    of or after a stage.
    """
    if not isinstance(model, FSDPModule):
        model.to(device.name)
    forward = model.__dict__.pop("forward", None)
    attention, learning = model.config._attn_implementation, model.training
    model.set_attn_implementation("sdpa")
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(learning)
        model.set_attn_implementation(attention)
        if forward is not None:
            model.forward = forward


@dataclasses.dataclass(frozen=True)
class OwnSampler:
    """Sampling with a cache by the model itself. An answer depends on its prompt and its seed: not
    on the answers beside it, nor on the number of ranks.

    Attributes:
        end: the id that ends an answer.
        temperature: 0 takes the likeliest token.
        at_once: answers in memory at one time on each rank; None: all.
    """

    model: PreTrainedModel
    device: Device
    end: int
    new_tokens: int
    temperature: float
    at_once: int | None = None
    ranks: Ranks = ALONE

    def __call__(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> list[list[int]]:
        """See `Sampler`. Each rank gives its part of the answers; all must come here."""
        count, world = len(prompts), self.ranks.world
        each = -(-count // world)
        first = self.ranks.rank * each
        places = range(first, first + each)  # the last rank's may reach beyond: those are dropped
        said = np.zeros((count, self.new_tokens))  # an id and one more; 0 where there is none
        with answering(self.model, self.device), self.device.autocast():
            for start in range(0, each, self.at_once or each):
                chosen = places[start : start + (self.at_once or each)]
                given = [(prompts[n % count], seeds[n % count]) for n in chosen]
                for n, ids in zip(chosen, self._sample(given), strict=True):
                    if n < count:
                        said[n, : len(ids)] = np.add(ids, 1)
        said = self.ranks.together(said)
        return [[int(i) - 1 for i in row[row > 0]] for row in said]

    def _sample(self, given: Sequence[tuple[Sequence[int], int]]) -> list[list[int]]:
        """One answer to each (prompt, seed); rows that have ended leave the batch."""
        draws = np.stack(
            [np.random.Generator(np.random.PCG64(s)).random(self.new_tokens) for _, s in given]
        )
        fed, mask = self._left_padded([prompt for prompt, _ in given])
        cache = DynamicCache()
        said: list[list[int]] = [[] for _ in given]
        rows = np.arange(len(given))  # whose tokens the batch's rows are
        for step in range(self.new_tokens):
            chosen = self._choose(self._logits(fed, mask, cache), draws[rows, step])
            for row, token in zip(rows, chosen.tolist(), strict=True):
                if not (said[row] and said[row][-1] == self.end):
                    said[row].append(token)
            going = np.array([said[row][-1] != self.end for row in rows])
            if not self._more(int(going.sum())):
                break
            if not going.any():
                going[0] = (
                    True  # others still answer: their steps need this rank's part of the model
                )
            kept = torch.as_tensor(np.flatnonzero(going), device=fed.device)
            if len(kept) < len(rows):
                cache.batch_select_indices(kept)
            rows, fed, mask = rows[going], chosen[kept][:, None], mask[kept]
            mask = torch.cat([mask, mask.new_ones(len(kept), 1)], 1)
        return said

    def _left_padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, prompts))
        rows = [[self.end] * (longest - len(p)) + list(p) for p in prompts]
        mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
        device = self.device.name
        return torch.tensor(rows, device=device), torch.tensor(mask, device=device)

    def _logits(self, fed: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -fed.shape[1] :]
        found: Any = self.model(
            input_ids=fed,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return torch.as_tensor(found.logits[:, -1])

    def _choose(self, logits_NV: Tensor, draws: np.ndarray[Any, Any]) -> Tensor:
        """The next id of each row: where a number drawn between 0 and 1 falls among the summed
        probabilities, shape (N,).
        """
        if self.temperature == 0:
            return logits_NV.argmax(-1)
        summed = (logits_NV.double() / self.temperature).softmax(-1).cumsum(-1)
        aims = torch.as_tensor(draws, device=summed.device)[:, None] * summed[:, -1:]
        found = torch.searchsorted(summed, aims, right=True)[:, 0]
        return found.clamp(max=summed.shape[1] - 1)

    def _more(self, going: int) -> bool:
        """Whether any rank has an answer that goes on."""
        if self.ranks.world == 1:
            return going > 0
        return self.ranks.total(torch.tensor([float(going)], dtype=torch.float64))[0] > 0
