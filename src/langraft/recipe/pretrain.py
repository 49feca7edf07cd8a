"""`pretrain:` and `forgetting:` the stages of continued pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from langraft.recipe.section import Fraction, Name, Positive, Rate, Section
from langraft.recipe.training import Training

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


class Pretrain(Training):
    """One stage of continued pretraining.

    Attributes:
        preset: take the values of a published system (`PRESETS`) for every key that is not given.
        tokens: budget in tokens of the model's tokenizer.
        epochs: how often any text may be read at most; a budget that needs more is refused.
        mix: share of every batch by language or source; must sum to 1. Default: the new language
            alone.
        buckets: parts that every source is split into; the stage trains on one after another, each
            with the whole mix, and saves its state at each boundary.
        late: a folder that may grow while the stage runs: each subfolder is one more bucket of
            `SOURCE.jsonl[.zst]` files, trained after the planned ones.
        across_documents: attention and labels cross document boundaries inside a row.
        bpe_dropout: probability of leaving out an added merge at one step while the training text
            is spelt (arXiv 1910.13267); 0 is none. Old-language text is not touched.
    """

    preset: Literal[tuple(PRESETS)] | None = None  # type: ignore[valid-type]
    tokens: Positive
    epochs: Rate = 1.0
    mix: Mapping[Name, Fraction] = {}
    buckets: Positive = 1
    late: str | None = None
    across_documents: bool = False
    bpe_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _preset_lies_below(cls, given: Any) -> Any:
        """The preset's values under the given ones."""
        if not isinstance(given, dict):
            return given
        below = PRESETS.get(given.get("preset") or "", {})
        merged = {**below, **given}
        if isinstance(below.get("lora"), dict) and isinstance(given.get("lora"), dict):
            merged["lora"] = {**below["lora"], **given["lora"]}
        return merged

    @model_validator(mode="after")
    def _data_fit(self) -> Pretrain:
        if self.mix and abs(sum(self.mix.values()) - 1) > 1e-6:
            raise ValueError(f"mix sums to {sum(self.mix.values()):g}, not to 1")
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
        suites: benchmarks, each with its number of worked examples, of which the first `questions`
            of every subject are asked at every evaluation; `eval.data` says where they lie.
    """

    max_rise: Annotated[float, Field(ge=0)] = 0.03
    on_breach: Literal["warn", "stop", "raise-replay", "lower-rate"] = "warn"
    act_at: Fraction = 0.3
    replay_step: Fraction = 0.2
    max_replay: Fraction = 0.6
    rate_factor: Fraction = 0.5
    suites: Mapping[str, Annotated[int, Field(ge=0)]] = {}
    questions: Positive = 2
