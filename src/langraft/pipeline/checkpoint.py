"""A checkpoint of a stage that is still training, as an ordinary model folder."""

from __future__ import annotations

from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.io import PARTIAL
from langraft.pipeline.run import Run
from langraft.pipeline.training import write_learnt
from langraft.pipeline.tuned import model_so_far, renderer_of, write_template
from langraft.recipe import Dpo, OnPolicy, Sft, Training
from langraft.train.checkpoints import CHECKPOINT, complete, read_weights


def export_checkpoint(this: Run, name: str, out: Path, step: int | None = None) -> int:
    """Write the model of a checkpoint, a chat model where the stage teaches conversations.

    Args:
        name: the stage: its own name, or its folder's.
        step: the checkpoint's step; None takes the newest.

    Returns:
        the step.

    Raises:
        BadInput: there is no such stage or checkpoint; the message names those there are.
    """
    folder, stage = named_stage(this, name)
    partial = this.out / f"{folder}{PARTIAL}"
    places = {int(place.name.split("-")[1]): place for place in complete(partial)}
    if not places or (step is not None and step not in places):
        there = ", ".join(map(str, places)) or "none"
        raise BadInput(f"{partial / CHECKPOINT}: no checkpoint of step {step}; there are: {there}")
    chosen = max(places) if step is None else step
    _, source = model_so_far(this, folder)
    write_learnt(source, read_weights(places[chosen]), stage, out)
    if isinstance(stage, Sft | Dpo | OnPolicy):
        write_template(renderer_of(source, stage.template, folder), out)
    return chosen


def named_stage(this: Run, name: str) -> tuple[str, Training]:
    """The folder and the section of a stage that leaves a language model.

    Args:
        name: its own name, or its folder's.

    Raises:
        BadInput: there is none; the message names those there are.
    """
    stages = _language_models(this)
    short = {folder.partition("-")[2]: folder for folder in stages if "-" in folder}
    folder = name if name in stages else short.get(name, "")
    if not folder:
        known = ", ".join(stages) or "none"
        raise BadInput(f"--stage {name}: the run's stages that train a language model are: {known}")
    return folder, stages[folder]


def _language_models(this: Run) -> dict[str, Training]:
    """The recipe's sections of the stages that leave a language model, by the stages' folders."""
    recipe = this.recipe
    found: dict[str, Training] = {f"pretrain-{stage.name}": stage for stage in recipe.pretrain}
    if recipe.sft is not None:
        found["sft"] = recipe.sft
    for stage in recipe.align:
        if stage.method != "reward":
            found[f"align-{stage.name}"] = stage
    return found
