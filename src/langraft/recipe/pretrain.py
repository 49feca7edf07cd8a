"""`pretrain:` and `forgetting:` the stages of continued pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from langraft.recipe.section import Fraction, Name, Positive, Rate, Section

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# How three published systems trained, as values that a stage takes with `preset:` and may override
# key by key. Colossal-LLaMA-2: its pretraining script, 64 GPUs x 8 rows of 4,096 tokens.
# Chinese-LLaMA-2: its run_pt script (LoRA on all linear layers, embeddings and head whole).
# Two stages: the new rows alone first, as Chinese-LLaMA's first 7B, Jais and RedWhale did.
_COLOSSAL: dict[str, Any] = {
    "train": "full",
    "lr": 1e-4,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup": 0.025,
    "decay": 0.0,
    "floor": 0.1,
    "row_tokens": 4_096,
    "batch_tokens": 2_097_152,
}
PRESETS: dict[str, dict[str, Any]] = {
    "colossal-injection": {**_COLOSSAL, "buckets": 10},
    "colossal-replay": {**_COLOSSAL, "lr": 5e-5},
    "chinese-llama": {
        "train": "lora",
        "lora": {"rank": 64, "alpha": 128, "dropout": 0.05, "embeddings": True},
        "lr": 2e-4,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.05,
        "decay": 0.0,
        "row_tokens": 512,
        "batch_tokens": 32_768,
    },
    "two-stage-rows": {"train": "new-rows", "lr": 2e-3, "schedule": "wsd"},
    "two-stage-all": {"train": "full", "lr": 1e-4, "schedule": "wsd"},
}


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


class Pretrain(Section):
    """One stage of continued pretraining.

    Attributes:
        preset: take the values of a published system (`PRESETS`) for every key that is not given.
        train: `new-rows`, `embeddings`, `full` (or `all`), `lora`, or `layers`.
        lora: the adapter, with `train: lora`.
        layers: the blocks that learn, with `train: layers`; negative numbers count from the top.
        tokens: budget in tokens of the model's tokenizer.
        epochs: how often any text may be read at most; a budget that needs more is refused.
        lr: peak rate of everything that has none of its own: `lr_embeddings` for the embedding
            matrices (default: `lr`), `lr_new_rows` for the added rows (default: the matrices').
        mix: share of every batch by language or source; must sum to 1. Default: the new language
            alone.
        buckets: parts that every source is split into; the stage trains on one after another, each
            with the whole mix, and saves its state at each boundary.
        late: a folder that may grow while the stage runs: each subfolder is one more bucket of
            `SOURCE.jsonl[.zst]` files, trained after the planned ones.
        batch_tokens, row_tokens: tokens an optimiser step, and tokens a packed row; the first is a
            multiple of the second.
        micro_rows: rows in memory at one time on each device; gradients add up over the batch
            (default: the whole batch).
        across_documents: attention and labels cross document boundaries inside a row.
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
    preset: Literal[tuple(PRESETS)] | None = None  # type: ignore[valid-type]
    train: Literal["new-rows", "embeddings", "full", "lora", "layers"] = "full"
    lora: Lora = Lora()
    layers: tuple[int, ...] = ()
    tokens: Positive
    epochs: Rate = 1.0
    lr: Rate = 1e-4
    lr_embeddings: Rate | None = None
    lr_new_rows: Rate | None = None
    mix: Mapping[Name, Fraction] = {}
    buckets: Positive = 1
    late: str | None = None
    batch_tokens: Positive = 1_024
    row_tokens: Positive = 512
    micro_rows: Positive | None = None
    across_documents: bool = False
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

    @model_validator(mode="before")
    @classmethod
    def _preset_lies_below(cls, given: Any) -> Any:
        """The preset's values under the given ones; `all` is another word for `full`."""
        if not isinstance(given, dict):
            return given
        below = PRESETS.get(given.get("preset") or "", {})
        merged = {**below, **given}
        if isinstance(below.get("lora"), dict) and isinstance(given.get("lora"), dict):
            merged["lora"] = {**below["lora"], **given["lora"]}
        return merged | ({"train": "full"} if merged.get("train") == "all" else {})

    @model_validator(mode="after")
    def _budget_fits(self) -> Pretrain:
        if self.batch_tokens % self.row_tokens:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of row_tokens "
                f"{self.row_tokens}"
            )
        if self.mix and abs(sum(self.mix.values()) - 1) > 1e-6:
            raise ValueError(f"mix sums to {sum(self.mix.values()):g}, not to 1")
        decay = self.decay if self.schedule == "wsd" else 0.0
        if self.warmup + decay > 1:
            raise ValueError(
                f"warmup {self.warmup} and decay {self.decay} are more than the whole stage"
            )
        if (self.train == "layers") != bool(self.layers):
            raise ValueError(
                f"train is {self.train!r} and layers {list(self.layers)}: name the "
                "blocks with `train: layers`, and only with it"
            )
        if self.late is not None and self.schedule not in ("wsd", "constant"):
            raise ValueError(
                f"late buckets change the number of steps, so schedule "
                f"{self.schedule!r} would jump; take wsd or constant"
            )
        return self


class Forgetting(Section):
    """The old languages' allowed relative rise in bits per byte, and what a breach does.

    Attributes:
        max_rise: the budget, relative to the untouched base.
        on_breach: `warn`; `stop`; `raise-replay` makes the old languages' share of the mix larger
            by `replay_step` (up to `max_replay`); `lower-rate` multiplies all rates with
            `rate_factor`.
        act_at: the share of `max_rise` at which the last two act, so that the budget is kept, not
            only watched.
    """

    max_rise: Annotated[float, Field(ge=0)] = 0.03
    on_breach: Literal["warn", "stop", "raise-replay", "lower-rate"] = "warn"
    act_at: Fraction = 0.7
    replay_step: Fraction = 0.15
    max_replay: Fraction = 0.6
    rate_factor: Fraction = 0.5
