"""Answers of the model that learns, kept on disk as experience, and the feed that learns from them.

A round's answers are sampled when its first step comes, scored, and written; a resume in the middle
of a round reads them again. The random numbers are the step's own, so that a killed run and one
that was not killed draw the same answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.core.io import PARTIAL, disk_errors
from langraft.data.encode import Encoded
from langraft.data.pack import IGNORE
from langraft.data.samples import Samples, batch_of, lay
from langraft.train.loss import linear_cross_entropy
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device
from langraft.train.scoring import groups, scoring

Floats = NDArray[np.float64]


class Sampler(Protocol):
    """Where answers come from."""

    def __call__(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """The ids of one answer to each prompt, the end token included where it came."""
        ...


@contextmanager
def answering(model: PreTrainedModel) -> Iterator[None]:
    """The model as transformers knows it, for generation in the middle of a stage."""
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
    """Sampling by transformers with a cache, all prompts in one batch.

    Attributes:
        end: the id that ends an answer.
    """

    model: PreTrainedModel
    device: Device
    end: int
    new_tokens: int
    temperature: float

    def __call__(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """See `Sampler`."""
        longest = max(map(len, prompts))
        rows = [[self.end] * (longest - len(p)) + list(p) for p in prompts]
        mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
        with answering(self.model), self.device.autocast():
            whole: Any = self.model.generate(
                torch.tensor(rows, device=self.device.name),
                attention_mask=torch.tensor(mask, device=self.device.name),
                do_sample=True,
                temperature=self.temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=self.new_tokens,
                eos_token_id=self.end,
                pad_token_id=self.end,
            )
        return [self._until_end(row) for row in whole[:, longest:].tolist()]

    def _until_end(self, ids: list[int]) -> list[int]:
        return ids[: ids.index(self.end) + 1] if self.end in ids else ids


def token_scores(
    model: PreTrainedModel, samples: Samples, device: Device, *, values: bool = False
) -> tuple[list[Floats], list[Floats]]:
    """By sample, the log-probability of every learnt token, and with `values` what the head `score`
    says where each is predicted.
    """
    logprobs: list[Floats] = []
    found: list[Floats] = []
    with scoring(model, device):
        for group in groups(samples.lengths):
            batch = batch_of([samples[n] for n in group])
            labels = torch.as_tensor(batch.labels).to(device.name)
            with device.autocast():
                hidden = packed_hidden(model, batch, device)
                cast = hidden.to(torch.bfloat16) if device.bf16 else hidden
                weight = model.get_output_embeddings().weight
                _, _, each = linear_cross_entropy(cast, weight, labels)
            kept = batch.labels != IGNORE
            owner = np.repeat(np.arange(len(group)), np.diff(batch.boundaries))[kept]
            cuts = np.flatnonzero(np.diff(owner)) + 1
            logprobs += np.split(each.double().cpu().numpy(), cuts)
            if values:
                said = model.score(hidden[torch.as_tensor(kept)].float())[:, 0]
                found += np.split(said.double().cpu().numpy(), cuts)
    return logprobs, found


@dataclasses.dataclass(frozen=True)
class RolloutBatch:
    """N answers as packed sequences, T tokens in all, L of them answers' tokens.

    Attributes:
        old, reference, advantages, returns, values: by answer token, shape (L,).
        rewards: by answer, shape (N,).
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    boundaries: NDArray[np.int32]
    old: Floats
    reference: Floats
    advantages: Floats
    returns: Floats
    values: Floats
    rewards: Floats

    @property
    def counted(self) -> int:
        """Answer tokens."""
        return len(self.old)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(np.diff(self.boundaries).max())


@dataclasses.dataclass(frozen=True)
class Experience:
    """One round's answers; by answer token, flat: old, reference, advantages, returns, values.

    Attributes:
        starts: where each answer's tokens begin in the flat arrays, and their end.
        rewards: by answer.
        kl: the coefficient for the next round.
    """

    samples: Samples
    starts: NDArray[np.int64]
    old: Floats
    reference: Floats
    advantages: Floats
    returns: Floats
    values: Floats
    rewards: Floats
    kl: float

    def batch(self, numbers: Sequence[int]) -> RolloutBatch:
        """Some answers as one batch."""
        laid = batch_of([self.samples[n] for n in numbers])
        places = np.concatenate([np.arange(self.starts[n], self.starts[n + 1]) for n in numbers])
        flat = ("old", "reference", "advantages", "returns", "values")
        return RolloutBatch(
            laid.input_ids,
            laid.labels,
            laid.position_ids,
            laid.boundaries,
            **{name: getattr(self, name)[places] for name in flat},
            rewards=self.rewards[list(numbers)],
        )

    def save(self, path: Path) -> None:
        """Write everything, whole or not at all."""
        partial = path.with_name(path.name + PARTIAL)
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        arrays = {f.name: getattr(fields["samples"], f.name) for f in dataclasses.fields(Samples)}
        del fields["samples"]
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.savez(stream, **fields, **{f"samples_{k}": v for k, v in arrays.items()})
            partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Experience:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            samples = Samples(
                *(stored[f"samples_{field.name}"] for field in dataclasses.fields(Samples))
            )
            names = [f.name for f in dataclasses.fields(cls) if f.name not in ("samples", "kl")]
            return cls(samples, **{n: stored[n] for n in names}, kl=float(stored["kl"]))


Collect = Callable[[int, float], Experience]


class RolloutFeed:
    """Minibatches of the model's own answers, round after round.

    Attributes:
        steps: optimiser steps in all.
        kl: the coefficient that the next round uses.
    """

    parts = ("answers",)
    boundaries: frozenset[int] = frozenset()

    def __init__(
        self,
        collect: Collect,
        pool: Path,
        *,
        iterations: int,
        passes: int,
        minibatches: int,
        kl: float,
        seed: int,
    ) -> None:
        """`collect` makes a round's experience of its number and the coefficient; `pool` is the
        folder where rounds are kept.
        """
        self._collect, self._pool = collect, pool
        self._passes, self._minibatches, self._seed = passes, minibatches, seed
        self.steps = iterations * passes * minibatches
        self.kl = kl
        self._held: tuple[int, Experience] | None = None

    def batches(
        self, position: int, micro_rows: int | None = None, rank: int = 0, world: int = 1
    ) -> list[RolloutBatch]:
        """The micro-batches of one step.

        Raises:
            BadInput: there are several ranks.
        """
        if world > 1:
            raise BadInput("stages that learn from the model's own answers run in one process")
        number, within = divmod(position, self._passes * self._minibatches)
        experience = self._round(number)
        turn, part = divmod(within, self._minibatches)
        generator = np.random.Generator(np.random.PCG64([self._seed, number, turn]))
        order = generator.permutation(len(experience.rewards))
        own = np.array_split(order, self._minibatches)[part].tolist()
        size = micro_rows or len(own)
        return [experience.batch(own[a : a + size]) for a in range(0, len(own), size)]

    def _round(self, number: int) -> Experience:
        if self._held is not None and self._held[0] == number:
            return self._held[1]
        path = self._pool / f"{number:06d}.npz"
        if path.exists():
            found = Experience.load(path)
        else:
            found = self._collect(number, self.kl)
            found.save(path)
        self._held, self.kl = (number, found), found.kl
        return found

    def achieved(self) -> Mapping[str, float]:
        """All of it."""
        return {"answers": 1.0}

    def extend(self) -> Sequence[str]:
        """Nothing comes late."""
        return ()

    def state(self) -> Mapping[str, Any]:
        """The coefficient; the rounds lie in the pool."""
        return {"kl": self.kl}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.kl, self._held = float(state["kl"]), None


def samples_of(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Samples:
    """Prompts with their answers, of which only the answers are learnt."""
    return lay(
        [
            Encoded(
                np.array([*prompt, *answer], np.int64),
                np.arange(len(prompt) + len(answer)) >= len(prompt),
            )
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
    )
