"""`graft:` how new rows start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from langraft.recipe.section import Positive, Rate, Section


class Distil(Section):
    """How new rows are learnt from the base's own hidden states.

    Attributes:
        positions: states of the base that the input rows learn from.
        depth: layers after which they are taken.
        steps, batch_tokens, lr: the input rows' steps, tokens a step, and Adam's peak rate.
        output_positions: states of the grafted model that the output rows are fitted on.
        output_steps, output_batch, output_lr: the fit's steps, positions a step, and rate.
        ridge: pull of each output row towards its start, a weight on the squared distance.
    """

    positions: Positive = 40_000
    depth: Positive = 8
    steps: Positive = 120
    batch_tokens: Positive = 720
    lr: Rate = 5e-3
    output_positions: Positive = 80_000
    output_steps: Positive = 300
    output_batch: Positive = 2_048
    output_lr: Rate = 3e-3
    ridge: Annotated[float, Field(ge=0)] = 10.0


class Graft(Section):
    """How new rows start. `untie: auto` unties a tied model exactly when its output rows are
    learned on their own.
    """

    init: Literal["subtoken-mean", "distil"] = "distil"
    untie: Literal["auto"] | bool = "auto"
    distil: Distil = Distil()
