"""Output rows by regression: the model reads the text in the new tokens, and the rows are fitted on
the states that it really has, a convex problem without backpropagation through the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from langraft.recipe import Distil
from langraft.recipe.graft import SILENT_SHARE
from langraft.train.engine import StepWork
from langraft.train.fit import Moving
from langraft.train.lessons import Lessons

CHUNK_ROWS = 1_024
MASS_ROWS = 128  # logits that stay in the allocator and near the cache: half of 1,024's time


def conditional_rows(
    head_VD: Tensor, pieces: Sequence[Sequence[int]], states_ND: Tensor, occurrences: Tensor
) -> Tensor:
    """Where output rows start: the first sub-token's row, lowered by how rarely the rest follows.

    p(piece) = p(first sub-token) p(rest | first). The first factor has the first sub-token's row;
    the log of the second, taken as a constant, is added along the direction on which every state
    projects to about one: mean / |mean|^2.

    Args:
        head_VD: the base's output matrix, shape (V, D).
        states_ND: states that the rows will meet.
        occurrences: of each id in text, shape (V + pieces,).

    Returns:
        shape (pieces, D).
    """
    old, new = occurrences.float().split([head_VD.shape[0], len(pieces)])
    firsts = torch.tensor([ids[0] for ids in pieces])
    opened = old.scatter_add(0, firsts, new)[firsts]
    share = torch.log((new + 0.5) / (opened + 1.0 + 0.005 * len(pieces)))
    mean = states_ND.float().mean(0)
    return head_VD[firsts] + share[:, None] * (mean / (mean @ mean))


def output_work(
    moving: Moving,
    old_VD: Tensor,
    lessons: Lessons,
    settings: Distil,
    seed: int,
    silent: Lessons | None = None,
) -> Callable[[int], StepWork]:
    """Softmax regression of the next token on the states, old rows frozen, each row's own shift
    pulled to zero; the shift of all is free.

    What the old rows add to each position's softmax never changes, so it is computed once: every
    step sees the whole vocabulary exactly, at the cost of the new rows.

    After texts of old languages, `silent`, hardly a new piece comes: what new rows add to the loss
    there, -log(1 - their share), is all that an old language loses. It counts `old_weight` times.
    """
    count, positions = settings.output_batch, lessons.inner()
    ridge = settings.ridge * count / len(positions)
    fit = _cost(moving, old_VD, lessons, count, seed)
    parts = [lambda step: fit(step) + ridge * moving.own.square().sum()]
    if silent is not None:
        few = -(-count // SILENT_SHARE)
        hush = _cost(moving, old_VD, silent, few, seed + 1)
        parts.append(lambda step: settings.old_weight * count / few * hush(step))
    return lambda step: StepWork([partial(part, step) for part in parts], count, count)


def _cost(
    moving: Moving, old_VD: Tensor, lessons: Lessons, count: int, seed: int
) -> Callable[[int], Tensor]:
    """The next token's cross-entropy, summed over `count` positions that step and seed draw."""
    at, device = lessons.inner(), old_VD.device
    states, targets = lessons.states[at].to(device), lessons.ids[at + 1].to(device)
    first = old_VD.shape[0]
    old_mass, old_gold = _old_rows(states, old_VD, targets)

    def loss(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.randint(len(at), (count,), generator=generator).to(device)
        logits = (states[chosen] @ moving.rows().to(states.dtype).T).float()
        mass = torch.logaddexp(logits.logsumexp(-1), old_mass[chosen])
        target = targets[chosen]
        own = logits.gather(1, (target - first).clamp(min=0)[:, None])[:, 0]
        return (mass - torch.where(target >= first, own, old_gold[chosen])).sum()

    return loss


def _old_rows(states_ND: Tensor, old_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """The old rows' log-sum-exp at each position, and the logit of its target where that is an old
    row.
    """
    head = old_VD.to(states_ND.dtype)
    mass, gold = torch.empty(2, len(states_ND), device=head.device)
    known = targets_N.clamp(max=len(old_VD) - 1)[:, None]
    for start in range(0, len(states_ND), MASS_ROWS):
        rows = slice(start, start + MASS_ROWS)
        logits = (states_ND[rows] @ head.T).float()
        mass[rows] = logits.logsumexp(-1)
        gold[rows] = logits.gather(1, known[rows])[:, 0]
    return mass, gold
