"""PPO and GRPO: how a round's answers become advantages, and the loss on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langraft.data.pack import IGNORE
from langraft.data.samples import Samples
from langraft.recipe import Grpo, Ppo
from langraft.train.loss import linear_logprobs
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
from langraft.train.rollouts import (
    Experience,
    Floats,
    RolloutBatch,
    Sampler,
    samples_of,
    token_scores,
)

MEASURES = ("reward", "answer_tokens", "kl", "clipped")
Judge = Callable[[list[int], list[list[int]]], Floats]


def add_value_head(model: PreTrainedModel, start: Tensor | None = None) -> None:
    """A linear head `score` on the trunk, shape (1, D): zero, or a reward model's."""
    width = model.get_input_embeddings().weight.shape[1]
    head = torch.nn.Linear(width, 1, bias=False)
    with torch.no_grad():
        head.weight.zero_() if start is None else head.weight.copy_(start)
    model.score = head


def collector(
    stage: Ppo | Grpo,
    model: PreTrainedModel,
    reference: PreTrainedModel,
    prompts: list[list[int]],
    sampler: Sampler,
    judge: Judge,
    device: Device,
    seed: int,
) -> Callable[[int, float], Experience]:
    """What makes a round's experience: ask, answer, score, and weigh.

    Args:
        reference: the model that the stage starts from; it does not learn.
        prompts: all questions as ids; each round takes the next ones of an order by the seed.
        judge: the rewards of answers, from the questions' numbers and the answers' ids.
    """

    def collect(number: int, kl: float) -> Experience:
        asked = _questions(number, stage.questions, len(prompts), seed)
        numbers = [n for n in asked for _ in range(stage.group)]
        given = [prompts[n] for n in numbers]
        answers = sampler(given)
        samples = samples_of(given, answers)
        scores = judge(numbers, answers)
        valued = isinstance(stage, Ppo)
        old, values = token_scores(model, samples, device, values=valued)
        before, _ = token_scores(reference, samples, device)
        return _weigh(stage, samples, scores, old, before, values, kl)

    return collect


def _questions(number: int, count: int, total: int, seed: int) -> list[int]:
    """The questions of a round: the next of an order that is drawn anew whenever all were asked."""
    found = []
    for place in range(number * count, (number + 1) * count):
        turn, within = divmod(place, total)
        order = np.random.Generator(np.random.PCG64([seed, turn])).permutation(total)
        found.append(int(order[within]))
    return found


def _weigh(
    stage: Ppo | Grpo,
    samples: Samples,
    scores: Floats,
    old: list[Floats],
    reference: list[Floats],
    values: list[Floats],
    kl: float,
) -> Experience:
    lengths = [len(each) for each in old]
    starts = np.zeros(len(old) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    after = kl
    if isinstance(stage, Ppo):
        shaped = [
            shaped_rewards(float(s), p, r, kl)
            for s, p, r in zip(scores, old, reference, strict=True)
        ]
        pairs = [
            advantages_of(r, v, stage.gamma, stage.lam) for r, v in zip(shaped, values, strict=True)
        ]
        advantages = whiten(np.concatenate([a for a, _ in pairs]))
        returns = np.concatenate([r for _, r in pairs])
        said = np.concatenate(values)
        if stage.kl_target is not None:
            seen = float(np.mean([(p - r).sum() for p, r in zip(old, reference, strict=True)]))
            after = adapted_kl(kl, seen, stage.kl_target, len(old), stage.horizon)
    else:
        advantages = np.repeat(group_advantages(scores, stage.group), lengths)
        returns = said = np.zeros(len(advantages))
    return Experience(
        samples,
        starts,
        np.concatenate(old),
        np.concatenate(reference),
        advantages,
        returns,
        said,
        scores,
        after,
    )


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

    def given(array: Floats) -> Tensor:
        return torch.as_tensor(array).to(found)

    old, reference = given(batch.old), given(batch.reference)
    losses = clipped_policy_loss(found, old, given(batch.advantages), clip)
    penalty = kl_penalty(found, reference)
    if kl:
        losses = losses + kl * penalty
    if value_weight:
        said = model.score(hidden[labels != IGNORE].float())[:, 0]
        errors = clipped_value_loss(said, given(batch.values), given(batch.returns), value_clip)
        losses = losses + value_weight * errors
    if sums is not None:
        moved = ((found.detach() - old).exp() - 1).abs() > clip
        answers, tokens = len(batch.rewards), len(found)
        totals = (batch.rewards.sum(), tokens, penalty.detach().sum(), moved.sum())
        counts = (answers, answers, answers, tokens)
        sums[0, -4:] += torch.tensor([float(t) for t in totals], dtype=torch.float64).to(sums)
        sums[1, -4:] += torch.tensor(counts, dtype=torch.float64).to(sums)
    return losses.sum()
