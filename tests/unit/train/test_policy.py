"""PPO's and GRPO's mathematics worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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


def test_gae_by_hand() -> None:
    rewards, values = np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.4, 0.2])
    found, returns = advantages_of(rewards, values, gamma=0.9, lam=0.5)
    last = 1.0 - 0.2
    middle = 0.9 * 0.2 - 0.4 + 0.45 * last
    first = 0.9 * 0.4 - 0.5 + 0.45 * middle
    assert found == pytest.approx([first, middle, last])
    assert returns == pytest.approx([first + 0.5, middle + 0.4, 1.0])


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_gae_of_lambda_one_is_the_sum_of_rewards(rewards: list[float]) -> None:
    values = np.linspace(-1, 1, len(rewards))
    _, returns = advantages_of(np.array(rewards), values, gamma=1.0, lam=1.0)
    assert returns == pytest.approx([sum(rewards[t:]) for t in range(len(rewards))], abs=1e-9)


def test_group_advantages_by_hand() -> None:
    found = group_advantages(np.array([1.0, 3.0, 5.0, 5.0]), 2, eps=0.0 + 1e-9)
    assert found == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0])


def test_whitened_and_shaped() -> None:
    white = whiten(np.array([1.0, 2.0, 3.0, 6.0]))
    assert (white.mean(), white.std()) == (pytest.approx(0), pytest.approx(1))
    shaped = shaped_rewards(2.0, np.array([-1.0, -2.0]), np.array([-1.5, -1.0]), 0.1)
    assert shaped == pytest.approx([-0.05, 2.1])


def test_clipped_policy_loss_by_hand() -> None:
    old = torch.zeros(4)
    new = torch.log(torch.tensor([1.5, 1.5, 0.5, 1.1]))
    advantages = torch.tensor([1.0, -1.0, 1.0, 2.0])
    found = clipped_policy_loss(new, old, advantages, 0.2).tolist()
    assert found == pytest.approx([-1.2, 1.5, -0.5, -2.2])


def test_clipped_value_loss_by_hand() -> None:
    values, old = torch.tensor([1.0, 0.05]), torch.tensor([0.0, 0.0])
    returns = torch.tensor([1.0, 1.0])
    found = clipped_value_loss(values, old, returns, 0.2).tolist()
    assert found == pytest.approx([0.5 * 0.8**2, 0.5 * 0.95**2])


@given(st.floats(-5, 0), st.floats(-5, 0))
def test_the_penalty_is_never_negative(p: float, q: float) -> None:
    found = kl_penalty(torch.tensor([p]), torch.tensor([q])).item()
    assert found >= -1e-6


def test_the_coefficient_follows_the_kl() -> None:
    assert adapted_kl(0.1, 12.0, 6.0, 100, 1000) == pytest.approx(0.1 * 1.02)
    assert adapted_kl(0.1, 6.3, 6.0, 100, 1000) == pytest.approx(0.1 * 1.005)
    assert adapted_kl(0.1, 0.0, 6.0, 100, 1000) == pytest.approx(0.1 * 0.98)
