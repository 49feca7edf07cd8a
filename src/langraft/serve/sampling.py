"""One token from logits, as the API's settings want it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from langraft.serve.engine import Generation


def guided(logits_V: torch.Tensor, against_V: torch.Tensor, guidance: float) -> torch.Tensor:
    """Classifier-free guidance of log-probabilities (arXiv 2306.17806, equation 7)."""
    wanted, unwanted = logits_V.log_softmax(-1), against_V.log_softmax(-1)
    return unwanted + guidance * (wanted - unwanted)


def choose(
    logits_V: torch.Tensor,
    wanted: Generation,
    prompt: Sequence[int],
    produced: Sequence[int],
    draw: torch.Generator | None,
) -> int:
    """One id: penalties and biases, then temperature, then top-k, the nucleus and min-p.

    Args:
        prompt: its ids count for the repetition penalty, as in transformers.
        draw: the source of chance; None takes torch's own.
    """
    logits = logits_V.clone()
    for token, bias in wanted.logit_bias.items():
        if token < len(logits):
            logits[token] += bias
    if wanted.repetition_penalty != 1:
        seen = torch.tensor([*prompt, *produced]).unique()
        scores = logits[seen]
        divided, multiplied = scores / wanted.repetition_penalty, scores * wanted.repetition_penalty
        logits[seen] = torch.where(scores > 0, divided, multiplied)
    if produced and (wanted.frequency_penalty or wanted.presence_penalty):
        ids, counts = torch.tensor(produced).unique(return_counts=True)
        logits[ids] -= wanted.presence_penalty + wanted.frequency_penalty * counts
    if wanted.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(_shares(logits, wanted), 1, generator=draw))


def _shares(logits: torch.Tensor, wanted: Generation) -> torch.Tensor:
    """What is left of the distribution to draw from; not normalised."""
    logits = logits / wanted.temperature
    if 0 < wanted.top_k < len(logits):
        logits[logits < logits.topk(wanted.top_k).values[-1]] = -torch.inf
    shares = logits.softmax(-1)
    if wanted.top_p < 1:
        ordered, places = shares.sort(descending=True)
        before = ordered.cumsum(-1) - ordered
        shares[places[before >= wanted.top_p]] = 0
    if wanted.min_p:
        shares[shares < wanted.min_p * shares.max()] = 0
    return shares
