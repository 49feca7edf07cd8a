"""What a run folder holds, read for the report: the recipe, the finished stages, the metrics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.core.manifest import read_manifest
from langraft.core.metrics import read_metrics

PLAN = "plan.json"
FIRST = ("corpus", "tokenizer", "graft")
TRAINING = ("pretrain", "twin")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder as it lies on the disk.

    Attributes:
        folder: the run folder.
        recipe: the resolved recipe as plain data; empty when there is none.
        recipe_text: the same as it was written.
        manifests: the manifest of every finished stage by folder name, in the order of the run.
        metrics: every complete record of `metrics.jsonl`.
        plan: what `langraft plan` said of the run's machine; empty when nobody asked it.
    """

    folder: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    manifests: Mapping[str, Mapping[str, Any]]
    metrics: list[dict[str, Any]]
    plan: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def results(self, stage: str) -> Mapping[str, Any]:
        """The headline numbers of a stage; empty when it has not finished."""
        found: Mapping[str, Any] = self.manifests.get(stage, {}).get("results", {})
        return found

    def training_stages(self, prefix: str = "pretrain-") -> list[str]:
        """The folder names of the stages that train (`twin-`: the twin's), in order."""
        begun = [record["stage"] for record in self.metrics if "tokens" in record]
        names = [*self.manifests, *begun]
        found = {name for name in names if name.startswith(prefix)}
        return sorted(found, key=lambda name: _place(self.recipe, name))


def read_run(folder: Path) -> Run:
    """Read the run folder `folder`, whatever stage it has reached.

    Raises:
        BadInput: it is no run folder, or its recipe is not YAML.
    """
    recipe_text, recipe = _read_recipe(folder / "recipe.yaml")
    stages = sorted(path.parent.name for path in folder.glob("*/manifest.json"))
    if not recipe and not stages:
        raise BadInput(
            f"{folder}: not a run folder (no recipe.yaml and no stage with a manifest.json)"
        )
    manifests = {}
    for name in sorted(stages, key=lambda stage: _place(recipe, stage)):
        if (manifest := read_manifest(folder / name)) is not None:
            manifests[name] = manifest
    metrics = read_metrics(folder / "metrics.jsonl")
    plan = read_json(folder / PLAN) if (folder / PLAN).exists() else {}
    return Run(folder, recipe, recipe_text, manifests, metrics, plan)


def _read_recipe(path: Path) -> tuple[str, dict[str, Any]]:
    if not path.exists():
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a YAML file: {error}") from error
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: a recipe is a mapping with at least `name:`")
    return text, tree


def _place(recipe: Mapping[str, Any], stage: str) -> tuple[int, int, str]:
    """Where a stage stands in the order of the run; stages the recipe does not know come last."""
    if stage in FIRST:
        return 0, FIRST.index(stage), stage
    kind, _, name = stage.partition("-")
    if kind in TRAINING:
        names = [part["name"] for part in recipe.get("pretrain") or ()]
        return 1 + TRAINING.index(kind), names.index(name) if name in names else len(names), stage
    return (3, 0, stage) if stage == "eval" else (4, 0, stage)


def finite(value: Any) -> TypeGuard[float]:
    """Whether a logged value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
