"""Scores of samples by a model that does not learn: losses, log-probabilities, rewards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from langraft.core.messages import bar
from langraft.data.encode import Encoded
from langraft.data.pack import IGNORE
from langraft.data.pairs import PairSet
from langraft.data.samples import Samples, batch_of, lay
from langraft.train import attention
from langraft.train.loss import linear_cross_entropy
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device
from langraft.train.preference import rewards_of

TOKENS = 4_096  # in memory at one time


@contextmanager
def scoring(model: PreTrainedModel, device: Device) -> Iterator[None]:
    """The model made ready for packed sequences, without gradients and without dropout."""
    learning = model.training
    model.to(device.name)
    model.set_attn_implementation(attention.register())
    model.eval()
    try:
        with torch.no_grad():
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


def sample_logprobs(
    model: PreTrainedModel, samples: Samples, device: Device, name: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The summed log-probability (nats) and the number of the learnt tokens of every sample, both
    of shape (samples,).
    """
    total, counts = np.zeros(len(samples)), np.zeros(len(samples), np.int64)
    with scoring(model, device), bar("samples") as progress:
        task = progress.add_task(name, total=len(samples), note="")
        for group in groups(samples.lengths):
            batch = batch_of([samples[n] for n in group])
            labels = torch.as_tensor(batch.labels).to(device.name)
            with device.autocast():
                hidden = packed_hidden(model, batch, device)
                hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
                weight = model.get_output_embeddings().weight
                _, _, logprobs = linear_cross_entropy(hidden, weight, labels)
            owner = np.repeat(np.arange(len(group)), np.diff(batch.boundaries))
            owner = owner[batch.labels != IGNORE]
            np.add.at(total, np.asarray(group)[owner], logprobs.double().cpu().numpy())
            np.add.at(counts, np.asarray(group)[owner], 1)
            progress.advance(task, len(group))
    return total, counts


def loss_of(model: PreTrainedModel, samples: Samples, device: Device, name: str) -> float:
    """The mean loss of a learnt token, in nats."""
    total, counts = sample_logprobs(model, samples, device, name)
    return float(-total.sum() / counts.sum())


def rewards(
    model: PreTrainedModel, pairs: PairSet, device: Device, name: str = "rewards"
) -> NDArray[np.float64]:
    """What the reward model gives to chosen and rejected, shape (pairs, 2)."""
    lengths = pairs.samples.lengths.reshape(-1, 2).sum(1)
    found: list[Tensor] = []
    with scoring(model, device), bar("pairs") as progress:
        task = progress.add_task(name, total=len(pairs), note="")
        for group in groups(lengths):
            found.append(rewards_of(model, pairs.batch(group), device).double().cpu())
            progress.advance(task, len(group))
    return torch.cat(found).view(-1, 2).numpy()


def _answer_alone(sample: Encoded) -> Encoded:
    """The learnt tokens behind the first one of the sample, which carries no meaning."""
    ids = np.concatenate([sample.ids[:1], sample.ids[sample.learnt]])
    learnt = np.ones(len(ids), np.bool_)
    learnt[0] = False
    return Encoded(ids, learnt)


def difficulty(
    model: PreTrainedModel, samples: Samples, kind: str, device: Device
) -> NDArray[np.float64]:
    """How hard each sample is, shape (samples,): the mean loss of its answers (`loss`); that over
    the loss of the answers alone (`ifd`, instruction-following difficulty, arXiv 2308.12032); or
    its number of tokens (`length`).
    """
    kinds: dict[str, Callable[[], NDArray[np.float64]]] = {
        "length": lambda: samples.lengths.astype(np.float64),
        "loss": lambda: _mean_losses(model, samples, device),
        "ifd": lambda: (
            _mean_losses(model, samples, device) / _mean_losses(model, _all_alone(samples), device)
        ),
    }
    return kinds[kind]()


def _mean_losses(model: PreTrainedModel, samples: Samples, device: Device) -> NDArray[np.float64]:
    total, counts = sample_logprobs(model, samples, device, "difficulty")
    return np.asarray(-total / np.maximum(counts, 1))


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
