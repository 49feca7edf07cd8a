"""`eval:` what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from langraft.recipe.section import Fraction, Positive, Section


class Eval(Section):
    """What is measured, and what counts as success.

    Attributes:
        bits: measure bits per byte on the hold-out of every source.
        window: tokens a model sees at a time.
        max_bytes: UTF-8 bytes scored for each source, spread over its held-out documents.
        prompts: texts continued by the base and the new model, for the report.
        better_bits: target: the new language's bits per byte fall by at least this share of the
            base's.
        fewer_tokens: target: the new language takes at least so many times fewer tokens per
            character.
        suites: benchmarks to score base and result on, each with its number of worked examples.
        data: where their files lie: a folder, a tar archive, or `hub:owner/name`.
        protocol: how they are asked and scored; without it the suite's first.
        limit: only so many questions of each subject.
    """

    bits: Literal[True] = True
    window: Positive = 512
    max_bytes: Positive = 24_000
    prompts: tuple[str, ...] = ()
    better_bits: Fraction = 0.05
    fewer_tokens: Annotated[float, Field(ge=1)] = 1.8
    suites: Mapping[str, Annotated[int, Field(ge=0)]] = {}
    data: str | None = None
    protocol: str | None = None
    limit: Positive | None = None

    @model_validator(mode="after")
    def _suites_have_data(self) -> Eval:
        if self.suites and self.data is None:
            raise ValueError("suites: say in `data` where their files lie")
        return self
