"""The stage of instruction tuning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from langraft.checkpoint.folder import load_model
from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json
from langraft.core.manifest import Stage
from langraft.core.messages import warn
from langraft.data.checks import Dataset, Report, encode_all
from langraft.data.conversations import USER
from langraft.data.encode import Encoded, Renderer
from langraft.data.samples import Phase, SampleFeed, Samples, lay
from langraft.pipeline.run import Run
from langraft.pipeline.tuned import (
    Tuning,
    conversations_of,
    held_out,
    refuse_unfit,
    tuning_stage,
)
from langraft.recipe import Sft
from langraft.train.objectives import OBJECTIVES
from langraft.train.scoring import difficulty, loss_of, stages_of, with_replay
from langraft.train.stage import Task

DIFFICULTY = "difficulty.json"


@dataclasses.dataclass(frozen=True)
class Taught:
    """What a stage learns from and is measured on.

    Attributes:
        samples: those to learn from.
        held: those set aside.
        sets: the data set that each sample came from.
        numbers: by sample, the records' own numbers.
        reports: one a data set.
    """

    samples: Samples
    held: Samples
    sets: NDArray[np.int64]
    numbers: list[dict[str, float]]
    reports: list[Report]


def sft_stage(this: Run) -> Stage:
    """The model so far -> the model after instruction tuning.

    Raises:
        BadInput: the folder holds checkpoints made with other settings or inputs.
    """
    stage = this.recipe.sft
    assert stage is not None

    def learn(folder: Path, tuning: Tuning) -> dict[str, Any]:
        warn_of_fp16(this)
        taught = read_taught(this, stage, tuning.renderer, folder)
        model = load_model(tuning.source)
        loss = [_loss(model, taught, this)]
        feed = SampleFeed(
            taught.samples,
            phases_of(model, taught, stage, this, folder),
            rows=stage.batch_tokens // stage.row_tokens,
            row_tokens=stage.row_tokens,
            seed=this.recipe.seed,
            packed=stage.packed,
        )
        log = this.log("sft")

        def evaluate(step: int, tokens: int) -> None:
            loss.append(_loss(model, taught, this))
            if loss[-1] is not None and this.ranks.lead:
                log.write(step, tokens=tokens, held_out_loss=round(loss[-1], 5))

        task = Task(feed, OBJECTIVES["next-token"](stage), new_rows=tuning.new_rows)
        results = tuning.teach(stage, model, task, folder, log, evaluate)
        return {
            **results,
            "data": [report.numbers() for report in taught.reports],
            "held_out_loss": {"before": _short(loss[0]), "after": _short(loss[-1])},
            "samples_a_row": round(feed.fill, 2),
        }

    return tuning_stage(this, "sft", stage, learn, (DIFFICULTY,))


def warn_of_fp16(this: Run) -> None:
    """Say why there is no fp16: LoRA on a freshly extended vocabulary underflowed in it."""
    frozen = this.recipe.hardware.frozen
    if frozen != "fp32" and this.recipe.graft is not None:
        warn(
            f"hardware.frozen: {frozen} rounds new rows that do not learn to 8 bits; with a "
            "freshly extended vocabulary let the embeddings learn too (lora.embeddings: true)"
        )


def read_taught(this: Run, stage: Sft, renderer: Renderer, folder: Path) -> Taught:
    """Read, check, render and tokenise all data sets, and set some samples aside.

    Raises:
        BadInput: too many records are unfit, or none is left.
    """
    found: list[Dataset] = []
    for one in stage.data:
        found.append(encode_all(conversations_of(this, one), renderer, stage.row_tokens))
    unfit = [record for dataset in found for record in dataset.report.unfit]
    total = sum(d.report.conversations + len(d.report.unfit) for d in found)
    refuse_unfit(unfit, total, stage.max_unfit, folder, "sft.data", this.ranks.lead)
    learnt: list[Encoded] = []
    held: list[Encoded] = []
    sets: list[int] = []
    numbers: list[dict[str, float]] = []
    for place, dataset in enumerate(found):
        for number, source in enumerate(dataset.sources):
            question = next(m.content for m in source.messages if m.role == USER)
            if held_out(question, stage.holdout, this.recipe.seed):
                held.append(dataset.samples[number])
            else:
                learnt.append(dataset.samples[number])
                sets.append(place)
                numbers.append(dict(source.fields))
    if not learnt:
        raise BadInput(f"sft.holdout: {stage.holdout} sets every sample aside; lower it")
    reports = [dataset.report for dataset in found]
    return Taught(lay(learnt), lay(held), np.array(sets), numbers, reports)


def phases_of(
    model: PreTrainedModel, taught: Taught, stage: Sft, this: Run, folder: Path
) -> list[Phase]:
    """The order of learning; difficulties are kept in `folder`, so that a resume has the same."""
    seed, everything = this.recipe.seed, np.arange(len(taught.samples))
    if stage.order == "shuffled":
        return [Phase("all", everything, stage.epochs)]
    if stage.order == "sets":
        parts = [everything[taught.sets == n] for n in range(len(stage.data))]
        found = with_replay(parts, stage.replay, seed)
        return [Phase(f"set-{n}", part, stage.epochs) for n, part in enumerate(found, 1)]
    kept = folder / DIFFICULTY
    if not kept.exists():
        hardness = hardness_of(model, taught, stage, this)
        if this.ranks.lead:
            write_json(kept, hardness.tolist())
        this.ranks.wait()
    found = stages_of(np.array(read_json(kept)), stage.levels, stage.replay, seed)
    return [Phase(f"level-{n}", part, stage.epochs) for n, part in enumerate(found, 1)]


def hardness_of(
    model: PreTrainedModel, taught: Taught, stage: Sft, this: Run
) -> NDArray[np.float64]:
    """How hard each sample is, by `sft.difficulty`.

    Raises:
        BadInput: it is the name of a number that a record lacks.
    """
    if stage.difficulty in ("loss", "ifd", "length"):
        return difficulty(model, taught.samples, stage.difficulty, this.device, this.ranks)
    lacking = sum(stage.difficulty not in numbers for numbers in taught.numbers)
    if lacking:
        known = sorted({key for numbers in taught.numbers for key in numbers})
        raise BadInput(
            f"sft.difficulty: {stage.difficulty!r} is neither loss, ifd nor length, and {lacking} "
            f"of {len(taught.numbers)} records have no number of that name; they have "
            f"{', '.join(known) or 'none'}"
        )
    return np.array([numbers[stage.difficulty] for numbers in taught.numbers])


def _loss(model: PreTrainedModel, taught: Taught, this: Run) -> float | None:
    if not len(taught.held):
        return None
    return loss_of(model, taught.held, this.device, "loss on held-out samples", this.ranks)


def _short(loss: float | None) -> float | None:
    return None if loss is None else round(loss, 4)
