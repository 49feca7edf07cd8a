"""What a stage of continued pretraining is measured on, on its way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from langraft.checkpoint.folder import load_tokenizer
from langraft.core.io import remove
from langraft.core.manifest import read_manifest
from langraft.core.metrics import MetricsLog
from langraft.data.course import Course
from langraft.data.frame import document_frame
from langraft.pipeline.forgetting import Meter
from langraft.pipeline.measure import bits_of
from langraft.pipeline.run import Run
from langraft.pipeline.slices import SLICES, slice_of
from langraft.recipe import Pretrain
from langraft.tokenizer.encoder import load_encoder


class Watch:
    """Called at every evaluation: bits per byte of every language, the forgetting meter, and a
    slice of benchmarks.
    """

    def __init__(
        self,
        this: Run,
        stage: Pretrain,
        source: Path,
        model: PreTrainedModel,
        course: Course,
        meter: Meter | None,
        folder: Path,
        log: MetricsLog,
    ) -> None:
        """Ask the untouched base what it scores on the slice, where the recipe names one.

        Args:
            source: the folder of the model's tokenizer.
            meter: None where there is nothing to forget.
            folder: where the slice's answers are kept.
        """
        self._this, self._name, self._source = this, stage.name, source
        self._model, self._course, self._meter = model, course, meter
        self._kept, self._log = folder / SLICES, log
        self._encoder, self._frame = load_encoder(source), document_frame(load_tokenizer(source))
        self._slice = slice_of(this)
        self._untouched = {} if self._slice is None else self._slice.base_scores(this.base)
        self._bits: dict[str, float] = {}
        self._scores: dict[str, float] = {}

    def __call__(self, step: int, tokens: int) -> float:
        """Measure and log; returns the factor for all rates that the meter asks for."""
        this = self._this
        title = f"{self._name} at step {step}"
        self._bits = bits_of(this, self._model, self._encoder, self._frame, title)
        factor = 1.0
        more: dict[str, Any] = {}
        if self._meter is not None:
            factor, record = self._meter.judge(self._bits, self._course)
            more = {"forgetting": record} if record else {}
        if self._slice is not None:
            if this.ranks.lead:  # answers of another time this step was reached
                remove(self._kept)
            this.ranks.wait()
            self._scores = self._slice.scores(self._model, self._source, self._kept)
            more["suites"] = self._compared()
        if this.ranks.lead:
            self._log.write(step, tokens=tokens, bits=self._bits, **more)
        return factor

    def results(self) -> dict[str, Any]:
        """What the last evaluation found."""
        found: dict[str, Any] = {"bits": self._bits}
        return found | ({"suites": self._compared()} if self._scores else {})

    def _compared(self) -> dict[str, Any]:
        return {"now": self._scores, "base": self._untouched}


def meter_of(this: Run) -> Meter | None:
    """The forgetting meter, where the base has been measured."""
    graft = read_manifest(this.out / "graft")
    if graft is None:
        return None
    old = tuple(this.sources(new=False))
    replay = {*old, *(code for code in this.languages.values() if code != this.language)}
    base = graft["results"]["bits"]["base"]
    return Meter(this.recipe.forgetting, base, old, tuple(sorted(replay)))
