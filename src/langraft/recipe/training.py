"""What every stage that trains by gradient is told, whatever it minimises."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from langraft.recipe.section import Fraction, Name, Positive, Rate, Section

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Lora(Section):
    """Low-rank updates (arXiv 2106.09685), merged into the weights at the end of the stage.

    Attributes:
        rank, alpha: the update is alpha / rank x B A; with `rank_stabilised`, alpha / sqrt(rank).
        dropout: on the input of A.
        targets: names of the linear layers that get one, in every block.
        embeddings: the embedding matrices learn too, whole.
    """

    rank: Positive = 64
    alpha: Rate = 128.0
    dropout: Fraction = 0.05
    targets: tuple[str, ...] = Field(default=LINEAR_LAYERS, min_length=1)
    rank_stabilised: bool = False
    embeddings: bool = True


class Guard(Section):
    """What happens when a step's loss or gradient norm is not finite or far from the last ones.

    Attributes:
        threshold: robust z-score (deviations from the median) above which a step is a spike.
        window: accepted steps that the median is taken over.
        skips: steps skipped in a row before the run returns to the last good checkpoint and goes
            on behind the data that it stumbled over.
        returns: how many such returns there may be before the run fails.
    """

    threshold: Rate = 12.0
    window: Positive = 64
    skips: Positive = 3
    returns: Positive = 3


class Training(Section):
    """One stage of training.

    Attributes:
        train: `new-rows`, `embeddings`, `full` (or `all`), `lora`, or `layers`.
        lora: the adapter, with `train: lora`.
        layers: the blocks that learn, with `train: layers`; negative numbers count from the top.
        lr: peak rate of everything that has none of its own: `lr_embeddings` for the embedding
            matrices (default: `lr`), `lr_new_rows` for the added rows (default: the matrices').
        batch_tokens, row_tokens: tokens an optimiser step, and tokens a packed row; the first is a
            multiple of the second.
        micro_rows: rows in memory at one time on each device; gradients add up over the batch
            (default: the whole batch).
        schedule: `wsd`, `cosine`, `linear` or `constant`, each after a linear warm-up.
        warmup, decay: shares of the steps; `decay` belongs to `wsd` alone.
        floor: the share of the peak rate that the schedule ends at.
        rewarm: warm up (and run through the schedule) once a stage or once a bucket.
        neftune: noise on the embeddings (arXiv 2310.05914); 0 is none.
        z_loss, label_smoothing: weights of the squared log-partition and of the uniform target.
        evaluate: how many times bits per byte are measured on the way, the end included.
        keep: checkpoints kept besides those of `keep_every` steps and of bucket boundaries.
    """

    name: Name
    train: Literal["new-rows", "embeddings", "full", "lora", "layers"] = "full"
    lora: Lora = Lora()
    layers: tuple[int, ...] = ()
    lr: Rate = 1e-4
    lr_embeddings: Rate | None = None
    lr_new_rows: Rate | None = None
    batch_tokens: Positive = 1_024
    row_tokens: Positive = 512
    micro_rows: Positive | None = None
    schedule: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    warmup: Fraction = 0.05
    decay: Fraction = 0.5
    floor: Fraction = 0.0
    rewarm: Literal["stage", "bucket"] = "stage"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Rate = 1.0
    neftune: Annotated[float, Field(ge=0)] = 0.0
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    guard: Guard = Guard()
    evaluate: Positive = 1
    checkpoint_seconds: Rate = 60
    keep: Positive = 2
    keep_every: Positive | None = None

    @field_validator("train", mode="before")
    @classmethod
    def _all_is_full(cls, given: Any) -> Any:
        """`all` is another word for `full`."""
        return "full" if given == "all" else given

    @model_validator(mode="after")
    def _batch_is_whole_rows(self) -> Training:
        if self.batch_tokens % self.row_tokens:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of row_tokens "
                f"{self.row_tokens}"
            )
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> Training:
        decay = self.decay if self.schedule == "wsd" else 0.0
        if self.warmup + decay > 1:
            raise ValueError(
                f"warmup {self.warmup} and decay {self.decay} are more than the whole stage"
            )
        return self

    @model_validator(mode="after")
    def _layers_are_named(self) -> Training:
        if (self.train == "layers") != bool(self.layers):
            raise ValueError(
                f"train is {self.train!r} and layers {list(self.layers)}: name the "
                "blocks with `train: layers`, and only with it"
            )
        return self
