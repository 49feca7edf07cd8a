"""Losses on pairs of answers, and what they need: Bradley-Terry and DPO, as pure functions and as
rows of the table of objectives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from langraft.data.pairs import PairBatch
from langraft.train.loss import linear_logprobs
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device

REWARD_MEASURES = ("accuracy", "margin", "reward")
DPO_MEASURES = ("accuracy", "margin", "chosen_logprob", "chosen_shift")


def bradley_terry(
    chosen_P: Tensor, rejected_P: Tensor, margin_P: Tensor | float = 0.0, centre: float = 0.0
) -> Tensor:
    """-log sigmoid(chosen - rejected - margin) + centre (chosen + rejected)^2, shape (P,).

    The first is Bradley and Terry's likelihood (1952) with Llama 2's margin (arXiv 2307.09288, eq.
    2), the second keeps rewards around zero (arXiv 2312.09244).
    """
    loss = -F.logsigmoid(chosen_P - rejected_P - margin_P)
    return loss + centre * (chosen_P + rejected_P).square() if centre else loss


def dpo(
    chosen_P: Tensor,
    rejected_P: Tensor,
    reference_chosen_P: Tensor,
    reference_rejected_P: Tensor,
    beta: float,
    smoothing: float = 0.0,
) -> Tensor:
    """The loss of each pair, shape (P,), of summed log-probabilities of answers in nats.

    -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h) with h the change of the log-odds against
    the reference (arXiv 2305.18290, eq. 7; e is conservative DPO's label noise).
    """
    h = beta * ((chosen_P - rejected_P) - (reference_chosen_P - reference_rejected_P))
    return -(1 - smoothing) * F.logsigmoid(h) - smoothing * F.logsigmoid(-h)


def rewards_of(model: PreTrainedModel, batch: PairBatch, device: Device) -> Tensor:
    """The scalar head's output at the last token of every sequence, shape (2 P,), float32."""
    with device.autocast():
        hidden = packed_hidden(model, batch, device)
    last = torch.as_tensor(batch.boundaries[1:].astype("int64") - 1).to(hidden.device)
    score: torch.nn.Linear = model.score
    return F.linear(hidden[last].float(), score.weight.float())[:, 0]


def answer_logprobs(model: PreTrainedModel, batch: PairBatch, device: Device) -> Tensor:
    """The summed log-probability of every answer, shape (2 P,), float32, with gradient."""
    labels = torch.as_tensor(batch.labels).to(device.name)
    with device.autocast():
        hidden = packed_hidden(model, batch, device)
        hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
        logprobs = linear_logprobs(hidden, model.get_output_embeddings().weight, labels)
    owner = torch.as_tensor(batch.owners).to(logprobs.device)
    found = torch.zeros(len(batch.boundaries) - 1, device=logprobs.device)
    return found.index_add(0, owner, logprobs)


def _log(sums: Tensor | None, values: list[Tensor], count: int) -> None:
    """Add the measures' sums behind the parts' columns."""
    if sums is None:
        return
    places = slice(-len(values), None)
    sums[0, places] += torch.stack([value.detach().double().sum() for value in values])
    sums[1, places] += count


def reward_loss(
    model: PreTrainedModel,
    batch: PairBatch,
    device: Device,
    sums: Tensor | None = None,
    *,
    margin: float = 0.0,
    centre: float = 0.0,
) -> Tensor:
    """Bradley-Terry, summed over the pairs with their weights."""
    rewards = rewards_of(model, batch, device)
    chosen, rejected = rewards[0::2], rewards[1::2]
    demanded = margin * torch.as_tensor(batch.margins).to(rewards)
    losses = bradley_terry(chosen, rejected, demanded, centre)
    gap = chosen - rejected
    _log(sums, [gap > 0, gap, (chosen + rejected) / 2], len(gap))
    return (losses * torch.as_tensor(batch.weights).to(losses)).sum()


def dpo_loss(
    model: PreTrainedModel,
    batch: PairBatch,
    device: Device,
    sums: Tensor | None = None,
    *,
    beta: float,
    smoothing: float = 0.0,
) -> Tensor:
    """DPO, summed over the pairs with their weights; the reference's log-probabilities come with
    the batch.
    """
    found = answer_logprobs(model, batch, device)
    reference = torch.as_tensor(batch.reference).to(found)
    losses = dpo(found[0::2], found[1::2], reference[0::2], reference[1::2], beta, smoothing)
    shift = beta * (found - reference)
    gap = shift[0::2] - shift[1::2]
    # the answers are the data's, not the model's, so this is how far it moved on them
    moved = (found - reference)[0::2]
    _log(sums, [gap > 0, gap, found[0::2], moved], len(gap))
    return (losses * torch.as_tensor(batch.weights).to(losses)).sum()
