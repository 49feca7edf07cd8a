"""`pretrain:` and `forgetting:` the stages of continued pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from langraft.recipe.section import Fraction, Name, Positive, Rate, Section


class Pretrain(Section):
    """One stage of continued pretraining.

    Attributes:
        train: `new-rows`, `embeddings` or `full`.
        tokens: budget in tokens of the model's tokenizer.
        lr: peak rate; `lr_new_rows` is the rate of the added rows (default: the same).
        mix: share of every batch by language; must sum to 1. Default: the new language alone.
        batch_tokens, row_tokens: tokens an optimiser step, and tokens a packed row; the first is a
            multiple of the second.
        micro_rows: rows in memory at one time; gradients add up over the batch (default: the whole
            batch).
        warmup, decay: shares of the steps (WSD schedule: linear warm-up, stable, linear decay to
            zero).
        evaluate: how many times bits per byte are measured on the way, the end included.
    """

    name: Name
    train: Literal["new-rows", "embeddings", "full"] = "full"
    tokens: Positive
    lr: Rate = 1e-4
    lr_new_rows: Rate | None = None
    mix: Mapping[Name, Fraction] = {}
    batch_tokens: Positive = 1_024
    row_tokens: Positive = 512
    micro_rows: Positive | None = None
    warmup: Fraction = 0.05
    decay: Fraction = 0.5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Rate = 1.0
    evaluate: Positive = 1
    checkpoint_seconds: Rate = 60

    @model_validator(mode="after")
    def _budget_fits(self) -> Pretrain:
        if self.batch_tokens % self.row_tokens:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of row_tokens "
                f"{self.row_tokens}"
            )
        if self.mix and abs(sum(self.mix.values()) - 1) > 1e-6:
            raise ValueError(f"mix sums to {sum(self.mix.values()):g}, not to 1")
        if self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup {self.warmup} and decay {self.decay} are more than the whole stage"
            )
        return self


class Forgetting(Section):
    """The old languages' allowed relative rise in bits per byte, and what a breach does."""

    max_rise: Annotated[float, Field(ge=0)] = 0.03
    on_breach: Literal["warn", "stop"] = "warn"
