"""What says how much an answer will be worth: a value head on the policy's trunk, or a model of its
own, either begun from a reward model where there is one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from langraft.train import attention
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device

CRITIC = "critic"


def add_value_head(model: PreTrainedModel, start: Tensor | None = None) -> None:
    """A linear head `score` on the trunk, shape (1, D): zero, or a reward model's."""
    width = model.get_input_embeddings().weight.shape[1]
    head = torch.nn.Linear(width, 1, bias=False)
    with torch.no_grad():
        head.weight.zero_() if start is None else head.weight.copy_(start)
    model.score = head


def add_critic(model: PreTrainedModel, critic: PreTrainedModel) -> None:
    """Hang a model with a head `score` on the policy, so that it is trained, sharded and kept in
    checkpoints with it; `policy_weights` leaves it behind.
    """
    critic.set_attn_implementation(attention.register())
    model.critic = critic


def values_by(model: PreTrainedModel, batch: Any, hidden: Tensor, device: Device) -> Tensor:
    """The expected reward at every token, shape (T,), float32: by the critic, or by the head on the
    policy's last states `hidden`, shape (T, D).
    """
    critic = getattr(model, CRITIC, None)
    if critic is not None:
        hidden, head = packed_hidden(critic, batch, device), critic.score
    else:
        head = model.score
    with torch.autocast(device.name, enabled=False):
        return F.linear(hidden.float(), head.weight.float())[:, 0]


def policy_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the policy alone."""
    return {n: w for n, w in weights.items() if not n.startswith((f"{CRITIC}.", "score."))}
