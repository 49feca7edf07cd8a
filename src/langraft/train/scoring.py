"""Scores of samples by a model that does not learn: losses, log-probabilities, rewards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from langraft.core.messages import bar
from langraft.data.encode import Encoded
from langraft.data.pairs import PairSet
from langraft.data.samples import Samples, batch_of, lay
from langraft.train import attention
from langraft.train.loss import linear_cross_entropy
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device
from langraft.train.preference import rewards_of
from langraft.train.ranks import ALONE, Ranks
from langraft.train.shard import gathered

TOKENS = 4_096  # in memory at one time
Floats = NDArray[np.float64]
Read = Callable[[Any], Tensor]


@contextmanager
def scoring(model: PreTrainedModel, device: Device) -> Iterator[None]:
    """The model made ready for packed sequences, without gradients and without dropout; its root's
    weights are whole meanwhile, so every rank must come here.
    """
    learning = model.training
    if not isinstance(model, FSDPModule):
        model.to(device.name)
    model.set_attn_implementation(attention.register())
    model.eval()
    try:
        with torch.no_grad(), gathered(model):
            yield
    finally:
        model.train(learning)


def groups(lengths: NDArray[np.int64], tokens: int = TOKENS) -> list[list[int]]:
    """Neighbours in order, as many together as have `tokens` tokens."""
    found: list[list[int]] = [[]]
    size = 0
    for number, length in enumerate(lengths.tolist()):
        if found[-1] and size + length > tokens:
            found.append([])
            size = 0
        found[-1].append(number)
        size += length
    return [group for group in found if group]


def dealt(parts: Sequence[list[int]], ranks: Ranks) -> Iterator[tuple[list[int], bool]]:
    """This rank's part of some groups, as many as every other rank's: (group, whether it counts).

    A sharded model must run on all ranks alike, so a rank that has run out repeats the first group.
    """
    for first in range(0, len(parts), ranks.world):
        place = first + ranks.rank
        yield (parts[place], True) if place < len(parts) else (parts[0], False)


def answer_starts(samples: Samples) -> NDArray[np.int64]:
    """Where each sample's learnt tokens begin among all of them, and their number at the end, shape
    (samples + 1,); the first token of a sample is never learnt.
    """
    behind = np.array(samples.learnt)
    behind[samples.offsets[:-1]] = False
    return np.concatenate([[0], np.cumsum(behind)])[samples.offsets]


def token_scores(
    model: PreTrainedModel,
    samples: Samples,
    device: Device,
    read: Read,
    *,
    ranks: Ranks = ALONE,
    columns: int = 1,
    name: str = "answers",
) -> Floats:
    """What `read` finds at every learnt token of all samples, shape (columns, learnt tokens).

    Args:
        read: from a batch to a tensor of shape (columns, its counted labels).
        ranks: each scores its part, all get everything.
    """
    starts = answer_starts(samples)
    found = np.zeros((columns, int(starts[-1])))
    with scoring(model, device), bar("samples") as progress:
        task = progress.add_task(name, total=len(samples), note="")
        for group, counts in dealt(groups(samples.lengths), ranks):
            values = read(batch_of([samples[n] for n in group]))
            if counts:
                places = np.concatenate([np.arange(starts[n], starts[n + 1]) for n in group])
                found[:, places] = values.double().cpu().numpy()
            progress.advance(task, counts * len(group) * ranks.world)
    return ranks.together(found)


def logprobs_by(
    model: PreTrainedModel, device: Device, matrices: tuple[Tensor, Tensor] | None = None
) -> Read:
    """What reads the log-probability of each learnt token.

    Args:
        matrices: input and output matrix that take the places of the model's own.
    """

    def read(batch: Any) -> Tensor:
        labels = torch.as_tensor(batch.labels).to(device.name)
        with device.autocast():
            hidden = _hidden(model, batch, device, matrices)
            hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
            weight = model.get_output_embeddings().weight if matrices is None else matrices[1]
            _, _, found = linear_cross_entropy(hidden, weight.to(hidden.device), labels)
        return found[None]

    return read


def _hidden(
    model: PreTrainedModel, batch: Any, device: Device, matrices: tuple[Tensor, Tensor] | None
) -> Tensor:
    if matrices is None:
        return packed_hidden(model, batch, device)
    ids = torch.as_tensor(batch.input_ids)
    rows = torch.nn.functional.embedding(ids.to(matrices[0].device), matrices[0])
    return packed_hidden(model, batch, device, rows.to(device.name))


def sample_logprobs(
    model: PreTrainedModel, samples: Samples, device: Device, name: str, ranks: Ranks = ALONE
) -> tuple[Floats, NDArray[np.int64]]:
    """The summed log-probability (nats) and the number of the learnt tokens of every sample, both
    of shape (samples,).
    """
    read = logprobs_by(model, device)
    (each,) = token_scores(model, samples, device, read, ranks=ranks, name=name)
    return sums_by_sample(each, answer_starts(samples)), np.diff(answer_starts(samples))


def sums_by_sample(each: Floats, starts: NDArray[np.int64]) -> Floats:
    """Sums over each sample's learnt tokens, shape (samples,)."""
    return np.diff(np.concatenate([[0.0], np.cumsum(each)])[starts])


def loss_of(
    model: PreTrainedModel, samples: Samples, device: Device, name: str, ranks: Ranks = ALONE
) -> float:
    """The mean loss of a learnt token, in nats."""
    total, counts = sample_logprobs(model, samples, device, name, ranks)
    return float(-total.sum() / counts.sum())


def sample_rewards(
    model: PreTrainedModel,
    samples: Samples,
    device: Device,
    name: str = "rewards",
    ranks: Ranks = ALONE,
) -> Floats:
    """What the reward model gives to each sample, shape (samples,)."""
    found = np.zeros(len(samples))
    with scoring(model, device), bar("samples") as progress:
        task = progress.add_task(name, total=len(samples), note="")
        for group, counts in dealt(groups(samples.lengths), ranks):
            batch: Any = batch_of([samples[n] for n in group])
            values = rewards_of(model, batch, device)
            if counts:
                found[group] = values.double().cpu().numpy()
            progress.advance(task, counts * len(group) * ranks.world)
    return ranks.together(found)


def rewards(
    model: PreTrainedModel,
    pairs: PairSet,
    device: Device,
    name: str = "rewards",
    ranks: Ranks = ALONE,
) -> Floats:
    """What the reward model gives to chosen and rejected, shape (pairs, 2)."""
    return sample_rewards(model, pairs.samples, device, name, ranks).reshape(-1, 2)


def _answer_alone(sample: Encoded) -> Encoded:
    """The learnt tokens behind the first one of the sample, which carries no meaning."""
    ids = np.concatenate([sample.ids[:1], sample.ids[sample.learnt]])
    learnt = np.ones(len(ids), np.bool_)
    learnt[0] = False
    return Encoded(ids, learnt)


def difficulty(
    model: PreTrainedModel, samples: Samples, kind: str, device: Device, ranks: Ranks = ALONE
) -> NDArray[np.float64]:
    """How hard each sample is, shape (samples,): the mean loss of its answers (`loss`); that over
    the loss of the answers alone (`ifd`, instruction-following difficulty, arXiv 2308.12032); or
    its number of tokens (`length`).
    """
    if kind == "length":
        return samples.lengths.astype(np.float64)

    def losses(of: Samples) -> Floats:
        total, counts = sample_logprobs(model, of, device, "difficulty", ranks)
        return np.asarray(-total / np.maximum(counts, 1))

    return losses(samples) / losses(_all_alone(samples)) if kind == "ifd" else losses(samples)


def _all_alone(samples: Samples) -> Samples:
    return lay([_answer_alone(samples[n]) for n in range(len(samples))])


def stages_of(
    hardness: NDArray[np.float64], levels: int, replay: float, seed: int
) -> list[NDArray[np.int64]]:
    """Samples from easy to hard in `levels` stages of equal size (by quantile), each with a share
    of `replay` of earlier ones on top.
    """
    parts: Sequence[NDArray[np.int64]] = np.array_split(np.argsort(hardness, kind="stable"), levels)
    return with_replay(parts, replay, seed)


def with_replay(
    parts: Sequence[NDArray[np.int64]], replay: float, seed: int
) -> list[NDArray[np.int64]]:
    """Each part with samples of the parts before it: `replay` times its own number, or all."""
    found, generator = [], np.random.Generator(np.random.PCG64([seed, len(parts)]))
    for place, part in enumerate(parts):
        earlier = np.concatenate([np.empty(0, np.int64), *parts[:place]])
        count = min(len(earlier), round(replay * len(part)))
        found.append(np.concatenate([part, generator.choice(earlier, count, replace=False)]))
    return found
