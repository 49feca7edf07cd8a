"""Continued pretraining: packed rows in exact mixes, next-token loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.core.metrics import MetricsLog
from langraft.data.course import Course
from langraft.recipe import Pretrain
from langraft.train.objectives import OBJECTIVES
from langraft.train.stage import Outcome, Place, Task, train_stage


def pretrain(
    model: PreTrainedModel,
    course: Course,
    stage: Pretrain,
    new_rows: tuple[int, int],
    place: Place,
    folder: Path,
    log: MetricsLog,
    evaluate: Callable[[int, int], float | None],
) -> Outcome:
    """Train `model` in place for one stage; see `train_stage`.

    Args:
        course: lays out the batches.
        new_rows: first and one past the last id that the extension added.

    Raises:
        BadInput: the batch does not divide among the ranks, or a key names what the model lacks.
    """
    rows, world = stage.batch_tokens // stage.row_tokens, place.ranks.world
    if rows % world:
        raise BadInput(
            f"pretrain {stage.name}: batch_tokens {stage.batch_tokens} is {rows} rows, which "
            f"{world} ranks cannot share evenly; take a multiple of {world * stage.row_tokens}"
        )
    task = Task(course, OBJECTIVES["next-token"](stage), new_rows=new_rows)
    return train_stage(model, task, stage, place, folder, log, evaluate)


def steps(stage: Pretrain) -> int:
    """Optimiser steps that the stage's token budget pays for (at least one)."""
    return max(1, round(stage.tokens / stage.batch_tokens))
