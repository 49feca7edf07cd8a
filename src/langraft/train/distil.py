"""Rows that are learnt: input rows by token distillation, output rows by regression.

The base's hidden states at the last base token of every new piece say what a model that reads the
new piece should have there (Token Distillation, arXiv 2505.20133); a few layers are enough, which
makes it cheap. Then the model reads the text in the new tokens, and the output rows are fitted on
the states it really has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from langraft.recipe import Distil
from langraft.train import attention
from langraft.train.engine import StepWork
from langraft.train.fit import Fit, Moving
from langraft.train.lessons import Lessons, Reader, cast_once, kept, observe, recite, shallow
from langraft.train.objectives import packed_hidden
from langraft.train.regression import output_work

LESSONS, STATES = "lessons.safetensors", "states.safetensors"
INPUT, OUTPUT = "input rows", "output rows"


def distil_input(
    model: PreTrainedModel,
    start: Tensor,
    reader: Reader,
    settings: Distil,
    folder: Path,
    metrics: Path,
) -> tuple[Tensor, dict[str, Any]]:
    """The new input rows, learnt from `start`, and the loop's numbers; `model` stays as it is.

    Args:
        model: reads with the base's rows.
        start: shape (pieces, D), float32.
        folder: keeps what a killed run goes on from.
        metrics: the run's metrics file.
    """
    frozen(model, reader)
    old = model.get_input_embeddings().weight.data[: reader.base.size]
    fit = Fit(INPUT, settings.steps, settings.lr, folder, metrics)
    with shallow(model, settings.depth), cast_once(model, reader.device):
        lessons = kept(folder / LESSONS, lambda: observe(model, reader, settings.positions))
        rows, numbers = fit(
            start.to(old.device),
            lambda moving: input_work(moving, model, old, lessons, settings, reader),
        )
    return rows, {**numbers, "positions": lessons.ids.numel()}


def read_states(
    model: PreTrainedModel, reader: Reader, texts: Sequence[str], positions: int, path: Path
) -> Lessons:
    """The last states of a model that reads `texts` with its new input rows; kept in `path`."""
    frozen(model, reader)
    with cast_once(model, reader.device):
        return kept(path, lambda: recite(model, reader, texts, positions))


def fit_output(
    start: Tensor,
    old_VD: Tensor,
    states: Lessons,
    settings: Distil,
    fit: Fit,
    seed: int,
    silent: Lessons | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """The new output rows, fitted on `states` from `start`, and the loop's numbers.

    Args:
        start: shape (pieces, D), float32.
        old_VD: the base's output matrix; the fit runs where it is.
        silent: states after which no new piece ever comes.
    """

    def work(moving: Moving) -> Callable[[int], StepWork]:
        return output_work(moving, old_VD, states, settings, seed, silent)

    rows, numbers = fit(start.to(old_VD.device), work)
    return rows, {**numbers, "positions": states.ids.numel()}


def frozen(model: PreTrainedModel, reader: Reader) -> None:
    """Put `model` on the reader's device, reading packed rows, with nothing in it learning."""
    model.to(reader.device.name).set_attn_implementation(attention.register())
    model.requires_grad_(False)


def input_work(
    moving: Moving,
    model: PreTrainedModel,
    old_VD: Tensor,
    lessons: Lessons,
    settings: Distil,
    reader: Reader,
) -> Callable[[int], StepWork]:
    """Match the base's states after `depth` layers: squared error relative to the state's square,
    summed over positions.

    `model` is already cut off at that depth.
    """
    count = len(lessons.edges) - 1
    each = max(1, round(settings.batch_tokens * count / lessons.ids.numel()))
    first = old_VD.shape[0]

    def work(step: int) -> StepWork:
        chosen = [
            _shuffled(count, reader.seed, (step * each + k) // count)[(step * each + k) % count]
            for k in range(each)
        ]
        batch = lessons.batch(chosen)
        inner = torch.as_tensor(batch.position_ids > 0)

        def loss() -> Tensor:
            ids = torch.as_tensor(batch.input_ids).to(reader.device.name)
            known = F.embedding(ids.clamp(max=first - 1), old_VD)
            learnt = F.embedding((ids - first).clamp(min=0), moving.rows())
            embedded = torch.where((ids >= first)[:, None], learnt, known)
            with reader.device.autocast():
                states = packed_hidden(model, batch, reader.device, embedded).float()
            wanted = lessons.targets(chosen).to(reader.device.name).float()
            errors = (states - wanted).square().sum(-1) / wanted.square().sum(-1)
            return errors[inner.to(reader.device.name)].sum()

        return StepWork([loss], int(inner.sum()), len(batch.input_ids))

    return work


@functools.lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    return list(np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count))
