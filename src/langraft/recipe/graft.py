"""`graft:` how new rows start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from langraft.recipe.section import Positive, Rate, Section

PURE = ("subtoken-mean", "mean", "random", "zeros", "weighted", "align", "focus", "omp")
INPUTS = (*PURE, "distil")
OUTPUTS = (*PURE, "conditional", "fit")
AUTO = "auto"
# A step of the output rows reads a fourth of its positions again in old languages.
SILENT_SHARE = 4


def parts_of(start: str) -> tuple[str, str]:
    """The input and the output method of `INPUT` or `INPUT/OUTPUT`.

    Alone, a method makes both matrices' rows, and `distil` goes with `fit`.

    Raises:
        ValueError: no such methods.
    """
    first, slash, second = start.partition("/")
    output = second if slash else "fit" if first == "distil" else first
    if first not in INPUTS:
        raise ValueError(f"no init method {first!r}; there are {', '.join((AUTO, *INPUTS))}")
    if output not in OUTPUTS:
        raise ValueError(f"no output method {output!r}; there are {', '.join(OUTPUTS)}")
    return first, output


def _start(start: str) -> str:
    if start != AUTO:
        parts_of(start)
    return start


class Distil(Section):
    """How new rows are learnt from the base's own hidden states.

    Attributes:
        positions: states of the base that the input rows learn from.
        depth: layers after which they are taken.
        steps, batch_tokens, lr: the input rows' steps, tokens a step, and Adam's peak rate.
        output_positions: states of the grafted model that the output rows are fitted on.
        output_steps, output_batch, output_lr: the fit's steps, positions a step, and rate.
        ridge: holds back what moves an output row apart from the others: a weight on its square.
        old_positions: states of texts in old languages, after which that fit keeps new rows silent.
        old_weight: how many times a position there counts.
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
    old_positions: Annotated[int, Field(ge=0)] = 16_000
    old_weight: Annotated[float, Field(ge=0)] = 8.0


class Graft(Section):
    """How new rows start.

    Attributes:
        init: `INPUT` or `INPUT/OUTPUT`, see `parts_of`; `auto` scores `candidates` on text set
            aside and takes the best.
        candidates: what `auto` tries; empty: every method whose needs are met.
        untie: `auto` unties a tied model exactly when its two matrices' rows are not made alike.
        words: a bilingual word list, for `align`.
        donor: a model folder that knows the pieces, for `focus` and `omp`; without one they go by
            what stands near what in the text.
    """

    init: Annotated[str, AfterValidator(_start)] = "distil"
    candidates: tuple[Annotated[str, AfterValidator(_start)], ...] = ()
    untie: Literal["auto"] | bool = "auto"
    words: str | None = None
    donor: str | None = None
    distil: Distil = Distil()
