"""A fixed slice of benchmarks, asked of the base once and of the model at every evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import load_model, load_tokenizer, model_digest
from langraft.core.errors import BadInput
from langraft.evals.protocols import fitting
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import Exam, load_exam
from langraft.pipeline.run import Run
from langraft.train.precision import Device

SLICES = "slices"


@dataclasses.dataclass(frozen=True)
class Slice:
    """The first questions of every subject of some suites.

    Attributes:
        exams: by suite.
        folder: where the base's answers are kept.
    """

    exams: Mapping[str, Exam]
    protocol: str | None
    window: int
    folder: Path
    device: Device
    rank: int = 0

    def scores(self, model: Any, source: Path, folder: Path) -> dict[str, float]:
        """The accuracy on each suite; answers that lie in `folder` are not asked for again.

        Every rank asks all questions, because each needs the others' shards.

        Args:
            source: the folder of its tokenizer.
        """
        reader = Reader(model, load_tokenizer(source), self.window, folder.name)
        found = {}
        with self.device.autocast():
            for suite, exam in self.exams.items():
                protocol = self.protocol or fitting(suite)[0]
                kept = folder / suite / str(self.rank)
                found[suite] = round(evaluate(reader, exam, protocol, kept).main.value, 4)
        return found

    def base_scores(self, base: Path) -> dict[str, float]:
        """The untouched base's, asked once for all stages."""
        kept = self.folder / f"base-{model_digest(base)[:12]}"
        model = load_model(base).to(self.device.name)
        return self.scores(model, base, kept)


def slice_of(this: Run) -> Slice | None:
    """The recipe's slice, if it names one.

    Raises:
        BadInput: it names suites, but `eval.data` does not say where they lie.
    """
    rules, settings = this.recipe.forgetting, this.recipe.eval
    if not rules.suites:
        return None
    if settings is None or settings.data is None:
        raise BadInput("forgetting.suites: say in `eval.data` where the benchmarks' files lie")
    exams = {
        suite: load_exam(suite, settings.data, this.root, shots=shots, limit=rules.questions)
        for suite, shots in rules.suites.items()
    }
    return Slice(
        exams,
        settings.protocol,
        settings.window,
        this.out / SLICES,
        this.device,
        this.ranks.rank,
    )
