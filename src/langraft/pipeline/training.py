"""The frame of every stage that trains: what it is made of, how it goes on, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from langraft.checkpoint.adapter_writing import write_adapter
from langraft.checkpoint.folder import copy_tokenizer, load_model, save_model
from langraft.core.errors import BadInput
from langraft.core.io import PARTIAL, read_json, remove, sha256_json, write_json
from langraft.core.manifest import Stage
from langraft.pipeline.run import Run
from langraft.recipe import Training
from langraft.tokenizer.encoder import load_encoder
from langraft.train.checkpoints import CHECKPOINT, complete, drop_checkpoint
from langraft.train.stage import Place
from langraft.train.trainable import learnt_weights, lora_scaling, peft_settings

ADAPTER = "adapter"
ASKED = "asked.json"  # beside the checkpoints: what they were made with


def training_stage(
    this: Run,
    name: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    learn: Callable[[Path], dict[str, Any]],
    scratch: tuple[str, ...] = (),
) -> Stage:
    """A stage whose checkpoints go when it is done, and are refused when they are another's.

    Args:
        learn: trains with checkpoints in the folder, leaves a model there, returns the results.
        scratch: what else in the folder serves only to go on.

    Raises:
        BadInput: the folder holds checkpoints that were made with other settings or inputs.
    """

    def work(folder: Path) -> dict[str, Any]:
        if this.ranks.lead:
            write_json(folder / ASKED, {"settings": made.settings, "inputs": made.inputs})
        results = learn(folder)
        if this.ranks.lead:
            drop_checkpoint(folder)
            for left in (ASKED, *scratch):
                remove(folder / left)
        return results

    made = Stage(name, settings, inputs, work)
    refuse_foreign_checkpoint(this.out / (name + PARTIAL), made)
    return made


def settings_of(this: Run, stage: Training) -> dict[str, Any]:
    """What decides the weights that a stage ends with, its data apart."""
    settings = {**stage.model_dump(mode="json"), "seed": this.recipe.seed, "bf16": this.device.bf16}
    return settings | {key: getattr(this.recipe.hardware, key) for key in ("states", "frozen")}


def refuse_foreign_checkpoint(partial: Path, stage: Stage) -> None:
    """See that checkpoints left in `partial` belong to this stage.

    Raises:
        BadInput: they were made with other settings; the message names the first key.
    """
    if not complete(partial) or not (partial / ASKED).exists():
        return
    asked = read_json(partial / ASKED)
    for kind, now in (("settings", dict(stage.settings)), ("inputs", dict(stage.inputs))):
        for key in sorted({*asked[kind], *now}):
            was, wanted = asked[kind].get(key), now.get(key)
            if sha256_json(was) != sha256_json(wanted):
                name = f"{stage.name}: {key}" if kind == "settings" else f"its {key}"
                raise BadInput(
                    f"{partial / CHECKPOINT}: the checkpoints there were made with another recipe: "
                    f"{name} was {was!r} and is {wanted!r}. Set it back to go on, or forget them: "
                    "--fresh, or delete that folder"
                )


def place_of(this: Run) -> Place:
    """Where the run's stages train."""
    return Place(this.device, this.ranks, this.recipe.hardware, this.recipe.seed)


def new_rows_of(this: Run, source: Path) -> tuple[int, int]:
    """The first id that the model in `source` has beyond the base's, and one past its last."""
    return load_encoder(this.base).size, load_encoder(source).size


def write_learnt(source: Path, weights: Mapping[str, Tensor], stage: Training, out: Path) -> None:
    """Lay the weights that learnt over the model in `source`, merge an adapter, and write an
    ordinary model folder; the adapter itself goes into its folder `adapter`.
    """
    model = load_model(source)
    state = model.state_dict()
    scaling = lora_scaling(stage.lora)
    model.load_state_dict(learnt_weights(weights, state, scaling), strict=False)
    save_model(model, out)
    copy_tokenizer(source, out)
    if stage.train == "lora":
        settings = peft_settings(stage.lora)
        tied = bool(model.config.tie_word_embeddings)
        write_adapter(out / ADAPTER, weights, settings, source, tied=tied)
