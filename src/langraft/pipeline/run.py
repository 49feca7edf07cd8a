"""One run: a recipe, the folder it lives in, and what its finished stages left there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from langraft.checkpoint.bases import resolve_base
from langraft.checkpoint.folder import model_digest
from langraft.core.errors import BadInput
from langraft.core.manifest import read_manifest
from langraft.core.metrics import MetricsLog
from langraft.corpus.documents import Document, read_documents
from langraft.recipe import Recipe, needs
from langraft.train.precision import Device, choose_device
from langraft.train.ranks import Ranks, join_ranks, leave_ranks
from langraft.train.track import tracked_log

METRICS = "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: a recipe, the folder its paths are relative to, and the folder the run lives in."""

    recipe: Recipe
    root: Path
    out: Path

    @cached_property
    def base(self) -> Path:
        """The base model's folder."""
        needs(self.recipe, "base")
        assert self.recipe.base is not None
        return resolve_base(self.recipe.base, self.root)

    @cached_property
    def base_digest(self) -> str:
        """What the base model's files hash to."""
        return model_digest(self.base)

    @cached_property
    def device(self) -> Device:
        """Where this run computes."""
        hardware = self.recipe.hardware
        if hardware.threads is not None:
            torch.set_num_threads(hardware.threads)
        return choose_device(hardware.devices, hardware.precision)

    @cached_property
    def ranks(self) -> Ranks:
        """The processes that train together; asking for them joins them."""
        return join_ranks(self.device.name, self.recipe.hardware.shard_group)

    def leave(self) -> None:
        """Leave the other processes, if they were ever joined."""
        if "ranks" in self.__dict__:
            leave_ranks(self.ranks)

    def log(self, stage: str) -> MetricsLog:
        """Where a stage's metrics go: `metrics.jsonl`, and what the recipe's `hardware.track`
        names.
        """
        track = self.recipe.hardware.track if self.ranks.lead else ()
        return tracked_log(self.out, METRICS, stage, track)

    @property
    def language(self) -> str:
        """The new language's code."""
        needs(self.recipe, "language")
        assert self.recipe.language is not None
        return self.recipe.language.code

    @cached_property
    def languages(self) -> dict[str, str]:
        """The language of each source."""
        needs(self.recipe, "corpus")
        assert self.recipe.corpus is not None
        return {source.name: source.language for source in self.recipe.corpus.sources}

    def sources(self, *, new: bool) -> list[str]:
        """The sources in the new language, or those in all others."""
        return [name for name, code in self.languages.items() if (code == self.language) == new]

    def sources_of(self, part: str) -> list[str]:
        """The sources that a key of a mix names: those of a language, or one by its name."""
        return [name for name, code in self.languages.items() if part in (name, code)]

    def stages(self) -> list[str]:
        """Names of the stages that this recipe asks for, in order."""
        recipe = self.recipe
        names = [
            name for name in ("corpus", "tokenizer", "graft") if getattr(recipe, name) is not None
        ]
        names += [f"pretrain-{stage.name}" for stage in recipe.pretrain]
        names += ["sft"] if recipe.sft is not None else []
        names += [f"align-{stage.name}" for stage in recipe.align]
        names += ["eval"] if recipe.eval is not None else []
        return names + (["export"] if recipe.export is not None else [])

    def texts(self, part: str, source: str) -> list[str]:
        """The documents' texts of one source, `part` being `train` or `holdout`."""
        return [document.text for document in self.documents(part, source)]

    def documents(self, part: str, source: str) -> Iterator[Document]:
        """The same one by one, as they lie in the file."""
        return read_documents(self.out / "corpus" / part / f"{source}.jsonl.zst")

    def manifest(self, stage: str) -> dict[str, Any]:
        """The manifest of a stage that must be done.

        Raises:
            BadInput: it is not.
        """
        found = read_manifest(self.out / stage)
        if found is None:
            raise BadInput(
                f"{self.out / stage}: this stage is not done yet; run `langraft run` up to it first"
            )
        return found

    def tokenizer_folder(self) -> Path:
        """The folder whose tokenizer the model speaks: the extended one, or the base's."""
        done = read_manifest(self.out / "tokenizer")
        return (
            self.out / "tokenizer"
            if done is not None and done["results"]["added_pieces"]
            else self.base
        )
