"""PPO and GRPO: how a round's answers become advantages, and the loss on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langraft.data.pack import IGNORE
from langraft.data.samples import Samples
from langraft.recipe import Grpo, Ppo
from langraft.train.critic import values_by
from langraft.train.experience import Experience, RolloutBatch, Singles, samples_of
from langraft.train.loss import linear_cross_entropy, linear_logprobs
from langraft.train.objectives import packed_hidden
from langraft.train.policy import (
    adapted_kl,
    advantages_of,
    clipped_policy_loss,
    clipped_value_loss,
    group_advantages,
    kl_penalty,
    shaped_rewards,
    whiten,
)
from langraft.train.precision import Device
from langraft.train.ranks import ALONE, Ranks
from langraft.train.reference import Reference
from langraft.train.sampling import Sampler
from langraft.train.scoring import Floats, answer_starts, token_scores

MEASURES = ("reward", "answer_tokens", "kl", "same_language", "ended", "clipped")


class Judged(NamedTuple):
    """What answers are worth, the share of each in its question's language, and whether the model
    ended it; each of shape (answers,).
    """

    rewards: Floats
    language: Floats
    ended: Floats


Judge = Callable[[list[int], list[list[int]]], Judged]


@dataclasses.dataclass(frozen=True)
class Collector:
    """What makes a round's experience: ask, answer, score, and weigh.

    Attributes:
        reference: the model that the stage began with.
        prompts: all questions as ids; each round takes the next ones of an order by the seed.
        judge: from the questions' numbers and the answers' ids.
    """

    stage: Ppo | Grpo
    model: PreTrainedModel
    reference: Reference
    prompts: list[list[int]]
    sampler: Sampler
    judge: Judge
    device: Device
    seed: int
    ranks: Ranks = ALONE

    def __call__(self, number: int, kl: float) -> Experience:
        """The experience of a round; every rank gets the same, and all must come here."""
        stage = self.stage
        asked = _questions(number, stage.questions, len(self.prompts), self.seed)
        numbers = [n for n in asked for _ in range(stage.group)]
        given = [self.prompts[n] for n in numbers]
        seeds = np.random.SeedSequence([self.seed, number]).generate_state(len(given))
        answers = self.sampler(given, [int(seed) for seed in seeds])
        samples = samples_of(given, answers)
        valued = isinstance(stage, Ppo)
        scores = token_scores(
            self.model,
            samples,
            self.device,
            _reader(self.model, self.device, valued),
            ranks=self.ranks,
            columns=1 + valued,
        )
        values = scores[1] if valued else np.zeros_like(scores[0])
        judged = self.judge(numbers, answers)
        return weigh(stage, samples, judged, scores[0], self.reference(samples), values, kl)


def _reader(model: PreTrainedModel, device: Device, valued: bool) -> Callable[[Any], Tensor]:
    """What reads log-probabilities, and behind them values, of answer tokens in one pass."""

    def read(batch: Any) -> Tensor:
        labels = torch.as_tensor(batch.labels).to(device.name)
        with device.autocast():
            hidden = packed_hidden(model, batch, device)
            cast = hidden.to(torch.bfloat16) if device.bf16 else hidden
            weight = model.get_output_embeddings().weight
            _, _, found = linear_cross_entropy(cast, weight, labels)
            if not valued:
                return found[None]
            said = values_by(model, batch, hidden, device)[labels != IGNORE]
        return torch.stack([found, said])

    return read


def _questions(number: int, count: int, total: int, seed: int) -> list[int]:
    """The questions of a round: the next of an order that is drawn anew whenever all were asked."""
    found = []
    for place in range(number * count, (number + 1) * count):
        turn, within = divmod(place, total)
        order = np.random.Generator(np.random.PCG64([seed, turn])).permutation(total)
        found.append(int(order[within]))
    return found


def weigh(
    stage: Ppo | Grpo,
    samples: Samples,
    judged: Judged,
    old: Floats,
    reference: Floats,
    values: Floats,
    kl: float,
) -> Experience:
    """Rewards, log-probabilities and values as what is learnt from; `old`, `reference` and `values`
    are by answer token, flat.
    """
    starts, after = answer_starts(samples), kl
    if isinstance(stage, Ppo):
        advantages, returns = _advantages(stage, judged.rewards, starts, old, reference, values, kl)
        if stage.kl_target is not None:
            answers = len(judged.rewards)
            seen = float((old - reference).sum()) / answers
            after = adapted_kl(kl, seen, stage.kl_target, answers, stage.horizon)
    else:
        advantages = np.repeat(group_advantages(judged.rewards, stage.group), np.diff(starts))
        returns = np.zeros_like(old)

    def single(array: Floats) -> Singles:
        return np.asarray(array, np.float32)

    return Experience(
        samples=samples,
        starts=starts,
        old=single(old),
        reference=single(reference),
        advantages=single(advantages),
        returns=single(returns),
        values=single(values),
        rewards=single(judged.rewards),
        language=single(judged.language),
        ended=single(judged.ended),
        kl=np.array(after),
    )


def _advantages(
    stage: Ppo,
    rewards: Floats,
    starts: np.ndarray[Any, Any],
    old: Floats,
    reference: Floats,
    values: Floats,
    kl: float,
) -> tuple[Floats, Floats]:
    """Whitened advantages and returns by answer token, flat."""
    found = []
    for n, score in enumerate(rewards.tolist()):
        own = slice(int(starts[n]), int(starts[n + 1]))
        shaped = shaped_rewards(score, old[own], reference[own], kl)
        found.append(advantages_of(shaped, values[own], stage.gamma, stage.lam))
    return whiten(np.concatenate([a for a, _ in found])), np.concatenate([r for _, r in found])


def policy_loss(
    model: PreTrainedModel,
    batch: RolloutBatch,
    device: Device,
    sums: Tensor | None = None,
    *,
    clip: float,
    kl: float = 0.0,
    value_weight: float = 0.0,
    value_clip: float = 0.2,
) -> Tensor:
    """The clipped policy loss, with the penalty and the value loss where they have a weight, summed
    over answer tokens.
    """
    labels = torch.as_tensor(batch.labels).to(device.name)
    with device.autocast():
        hidden = packed_hidden(model, batch, device)
        cast = hidden.to(torch.bfloat16) if device.bf16 else hidden
        found = linear_logprobs(cast, model.get_output_embeddings().weight, labels)

    def given(array: Singles) -> Tensor:
        return torch.as_tensor(array).to(found)

    old, reference = given(batch.old), given(batch.reference)
    losses = clipped_policy_loss(found, old, given(batch.advantages), clip)
    penalty = kl_penalty(found, reference)
    if kl:
        losses = losses + kl * penalty
    if value_weight:
        with device.autocast():
            said = values_by(model, batch, hidden, device)[labels != IGNORE]
        errors = clipped_value_loss(said, given(batch.values), given(batch.returns), value_clip)
        losses = losses + value_weight * errors
    if sums is not None:
        moved = ((found.detach() - old).exp() - 1).abs() > clip
        answers, tokens = len(batch.rewards), len(found)
        by_answer = (batch.rewards.sum(), tokens, penalty.detach().sum())
        totals = (*by_answer, batch.language.sum(), batch.ended.sum(), moved.sum())
        counts = (*(answers,) * 5, tokens)
        sums[0, -6:] += torch.tensor([float(t) for t in totals], dtype=torch.float64).to(sums)
        sums[1, -6:] += torch.tensor(counts, dtype=torch.float64).to(sums)
    return losses.sum()
