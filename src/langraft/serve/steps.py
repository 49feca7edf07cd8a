"""Generation token by token on a transformers model, with a draft model or guidance beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from langraft.serve.engine import DRAFTED, Generation
from langraft.serve.sampling import choose, guided


class Reading:
    """A model and what it has read, its cache."""

    def __init__(self, model: Any, before: Sequence[int] = ()) -> None:
        """`before` comes before everything that will be read."""
        self._model, self._cache = model, None
        self._before, self._read = list(before), 0

    def logits(self, ids: Sequence[int], count: int) -> torch.Tensor:
        """Logits after each of the last `count` of `ids`, (count, V); only new ids are computed.

        What was read beyond a common beginning must have been forgotten with `keep`.
        """
        new = [*self._before, *ids[self._read :]]
        self._before, self._read = [], len(ids)
        step = torch.tensor([new], device=self._model.device)
        output = self._model(step, past_key_values=self._cache, use_cache=True)
        self._cache = output.past_key_values
        return output.logits[0, -count:].float().cpu()

    def keep(self, count: int) -> None:
        """Forget all but the first `count` ids."""
        if self._cache is not None and count < self._read:
            self._cache.crop(count - self._read)
            self._read = count


class Steps:
    """The tokens of one answer, one after the other.

    With a draft model, it proposes some tokens greedily, the model reads them all at once, and each
    is kept as long as the model itself draws it: the distribution is exactly the model's own, and
    greedy answers are the same tokens.

    Attributes:
        produced: the answer so far; the caller appends each token that it takes.
        drafted, accepted: tokens that were proposed, and those of them that the model drew.
    """

    def __init__(
        self,
        wanted: Generation,
        prompt: Sequence[int],
        model: Reading,
        draft: Reading | None,
        against: Reading | None,
        ahead: int = DRAFTED,
    ) -> None:
        self._wanted, self._prompt = wanted, list(prompt)
        self._model, self._draft, self._against = model, draft, against
        self._ahead = ahead if wanted.draft_tokens is None else wanted.draft_tokens
        seed = wanted.seed
        self._draw = torch.Generator().manual_seed(seed) if seed is not None else None
        self.produced: list[int] = []
        self.drafted = self.accepted = 0
        self._proposed: list[int] = []
        self._rows: list[torch.Tensor] = []

    def next(self) -> tuple[int, torch.Tensor]:
        """The next token and the logits (V,) that it was drawn from."""
        if not self._rows:
            self._compute()
        logits = self._rows.pop(0)
        token = choose(logits, self._wanted, self._prompt, self.produced, self._draw)
        if self._rows:
            if token == self._proposed.pop(0):
                self.accepted += 1
            else:
                self._rows = []
        return token, logits

    def _compute(self) -> None:
        known = [*self._prompt, *self.produced]
        self._model.keep(len(known) - 1)
        self._proposed = self._propose(known)
        count = len(self._proposed) + 1
        rows = self._model.logits([*known, *self._proposed], count)
        if self._against is not None:
            rows = guided(rows, self._against.logits(self.produced, 1), self._wanted.guidance)
        self._rows = list(rows)

    def _propose(self, known: Sequence[int]) -> list[int]:
        if self._draft is None or self._against is not None:
            return []
        room = self._wanted.max_tokens - len(self.produced) - 1
        self._draft.keep(len(known) - 1)
        found: list[int] = []
        while len(found) < min(self._ahead, room):
            found.append(int(self._draft.logits([*known, *found], 1)[0].argmax()))
        self.drafted += len(found)
        return found
