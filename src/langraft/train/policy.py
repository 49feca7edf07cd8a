"""The mathematics of PPO and GRPO as pure functions; all shapes in the names.

N: sequences, T: tokens of one answer, L: tokens of all answers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def advantages_of(
    rewards_T: Floats, values_T: Floats, gamma: float, lam: float
) -> tuple[Floats, Floats]:
    """Generalised advantage estimates of one answer, and the returns they imply (advantage +
    value), both of shape (T,); the answer ends behind its last token (arXiv 1506.02438, eq. 16).
    """
    found = np.zeros_like(rewards_T, dtype=np.float64)
    running = 0.0
    for t in range(len(rewards_T) - 1, -1, -1):
        after = values_T[t + 1] if t + 1 < len(values_T) else 0.0
        running = rewards_T[t] + gamma * after - values_T[t] + gamma * lam * running
        found[t] = running
    return found, found + values_T


def group_advantages(rewards_N: Floats, group: int, eps: float = 1e-4) -> Floats:
    """(reward - mean) / (deviation + eps) inside each group of answers to one question, shape (N,)
    (GRPO, arXiv 2402.03300, section 4.1.2).
    """
    grouped = rewards_N.reshape(-1, group)
    centred = grouped - grouped.mean(1, keepdims=True)
    return np.asarray((centred / (grouped.std(1, keepdims=True, ddof=1) + eps)).reshape(-1))


def whiten(values_L: Floats) -> Floats:
    """Values with mean 0 and deviation 1."""
    return np.asarray((values_L - values_L.mean()) / (values_L.std() + 1e-8))


def shaped_rewards(score: float, logprobs_T: Floats, reference_T: Floats, kl: float) -> Floats:
    """-kl (log p - log reference) at every token, and the answer's score at the last one, shape
    (T,) (arXiv 1909.08593).
    """
    found = -kl * (logprobs_T - reference_T)
    found[-1] += score
    return found


def clipped_policy_loss(
    logprobs_L: Tensor, old_L: Tensor, advantages_L: Tensor, clip: float
) -> Tensor:
    """max(-A r, -A clip(r, 1 - c, 1 + c)) of each token with r = exp(log p - log p_old), shape (L,)
    (arXiv 1707.06347, eq. 7).
    """
    ratio = (logprobs_L - old_L).exp()
    limited = ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(-advantages_L * ratio, -advantages_L * limited)


def clipped_value_loss(values_L: Tensor, old_L: Tensor, returns_L: Tensor, clip: float) -> Tensor:
    """Half the larger squared error of the value and of the value kept within `clip` of the old
    one, shape (L,).
    """
    limited = old_L + (values_L - old_L).clamp(-clip, clip)
    errors = torch.maximum((values_L - returns_L).square(), (limited - returns_L).square())
    return 0.5 * errors


def kl_penalty(logprobs_L: Tensor, reference_L: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log reference - log p: unbiased and never negative, shape (L,)
    (J. Schulman, Approximating KL divergence, 2020: k3).
    """
    d = reference_L - logprobs_L
    return d.exp() - d - 1


def adapted_kl(coefficient: float, seen: float, target: float, answers: int, horizon: int) -> float:
    """The coefficient moved towards where the seen KL (nats an answer) meets its target
    (arXiv 1909.08593, section 2.2).
    """
    error = min(0.2, max(-0.2, seen / target - 1))
    return coefficient * (1 + error * answers / horizon)
