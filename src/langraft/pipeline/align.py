"""The stages that learn from preferences: a reward model, and DPO."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from langraft.checkpoint.folder import copy_tokenizer, load_model, save_model
from langraft.core.errors import BadInput
from langraft.core.io import write_json
from langraft.core.manifest import Stage
from langraft.data.encode import Renderer
from langraft.data.objects import Unfit, data_files
from langraft.data.pairs import PairFeed, PairSet, encode_pairs
from langraft.data.preferences import Preference, read_preferences
from langraft.pipeline.run import Run
from langraft.pipeline.training import place_of
from langraft.pipeline.tuned import (
    TOKENIZER_SETTINGS,
    Tuning,
    held_out,
    refuse_unfit,
    tokenizer_settings,
    tuning_stage,
    write_template,
)
from langraft.recipe import Dpo, Pairs, Reward
from langraft.train.preference import DPO_MEASURES, REWARD_MEASURES, dpo_loss, reward_loss
from langraft.train.reward import judged, pad_for_rewards, with_head
from langraft.train.scoring import rewards, sample_logprobs
from langraft.train.stage import Task, train_stage
from langraft.train.trainable import learnt_weights, lora_scaling

REFERENCE = "reference.npz"
SHOWN = 3  # held-out pairs in the report, with their rewards before and after
SNIPPET = 160  # characters of a shown answer


@dataclasses.dataclass(frozen=True)
class Compared:
    """Pairs to learn from and pairs set aside, by question; the first `SHOWN` of the latter as they
    were written.
    """

    learnt: PairSet
    held: PairSet | None
    shown: Sequence[Preference]
    numbers: dict[str, Any]


def align_stage(this: Run, stage: Reward | Dpo) -> Stage:
    """The model so far -> a reward model, or the model after DPO.

    Raises:
        BadInput: the folder holds checkpoints made with other settings or inputs.
    """

    def learn(folder: Path, tuning: Tuning) -> dict[str, Any]:
        compared = read_compared(this, stage, tuning.renderer, folder, tuning.key)
        if isinstance(stage, Reward):
            found = _reward(this, stage, tuning, compared, folder)
        else:
            found = _dpo(this, stage, tuning, compared, folder)
        return {**found, "data": compared.numbers}

    return tuning_stage(this, f"align-{stage.name}", stage, learn, (REFERENCE,))


def read_compared(this: Run, stage: Pairs, renderer: Renderer, folder: Path, key: str) -> Compared:
    """Read, check, render and tokenise all pairs; all pairs of a question are on one side.

    Raises:
        BadInput: too many records are unfit, or none is left to learn from.
    """
    pairs: list[Preference] = []
    unfit: list[Unfit] = []
    for one in stage.data:
        for path in data_files(one.paths, this.root):
            for found in read_preferences(path):
                (unfit if isinstance(found, Unfit) else pairs).append(found)  # type: ignore[arg-type]
    total = len(pairs) + len(unfit)
    encoded, masked, kept = encode_pairs(pairs, renderer, stage.longest)
    refuse_unfit([*unfit, *masked], total, stage.max_unfit, folder, f"{key}.data", this.ranks.lead)
    aside = np.array(
        [held_out(repr(pair.messages), stage.holdout, this.recipe.seed) for pair in kept]
    )
    if aside.all():
        raise BadInput(f"{key}.holdout: {stage.holdout} sets every pair aside; lower it")
    held = encoded.take(np.flatnonzero(aside)) if aside.any() else None
    shown = [kept[row] for row in np.flatnonzero(aside)[:SHOWN]]
    learnt = encoded.take(np.flatnonzero(~aside))
    weights = learnt.weights / learnt.weights.mean()
    numbers = {"pairs": total, "unfit": len(unfit) + len(masked), "learnt": len(learnt)}
    numbers["held_out"] = 0 if held is None else len(held)
    return Compared(dataclasses.replace(learnt, weights=weights), held, shown, numbers)


def _feed(
    stage: Pairs, pairs: PairSet, seed: int, reference: NDArray[np.float32] | None = None
) -> PairFeed:
    return PairFeed(pairs, batch=stage.pairs, epochs=stage.epochs, seed=seed, reference=reference)


def _reward(
    this: Run, stage: Reward, tuning: Tuning, compared: Compared, folder: Path
) -> dict[str, Any]:
    """Train the reward model, measure it on the pairs set aside, and save it."""
    source, renderer = tuning.source, tuning.renderer
    pad = pad_for_rewards(renderer.tokenizer, renderer.end_id)
    model = with_head(load_model(source), pad, this.recipe.seed)
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    log = this.log(tuning.name)

    def evaluate(step: int, tokens: int) -> None:
        if compared.held is not None:
            found = _judge(model, compared.held, this)
            if this.ranks.lead:
                log.write(step, tokens=tokens, held_out=found)

    loss = partial(reward_loss, margin=stage.margin, centre=stage.centre)
    task = Task(_feed(stage, compared.learnt, this.recipe.seed), loss, REWARD_MEASURES)
    done = train_stage(model, task, stage, place_of(this), folder, log, evaluate)
    fresh = with_head(load_model(source), pad, this.recipe.seed)
    before = _scores(fresh, compared, this)
    learnt = learnt_weights(done.weights, plain, lora_scaling(stage.lora))
    fresh.load_state_dict(learnt, strict=False)
    if this.ranks.lead:
        save_model(fresh, folder)
        copy_tokenizer(source, folder)
        padding = renderer.tokenizer.convert_ids_to_tokens(pad)
        settings = tokenizer_settings(folder) | {"pad_token": padding}
        write_json(folder / TOKENIZER_SETTINGS, settings)
        write_template(renderer, folder)
    held = {} if compared.held is None else _judge(fresh, compared.held, this)
    sides = zip(compared.shown, before, _scores(fresh, compared, this), strict=True)
    samples = [{"prompt": _written(pair), "before": a, "after": b} for pair, a, b in sides]
    return {**done.numbers, "held_out": held, "samples": samples}


def _scores(model: PreTrainedModel, compared: Compared, this: Run) -> list[str]:
    """What the model gives to both answers of every shown pair."""
    if compared.held is None:
        return []
    shown = compared.held.take(np.arange(len(compared.shown)))
    found = rewards(model, shown, this.device, "shown pairs", this.ranks)
    return [f"preferred {good:+.2f}, other {bad:+.2f}" for good, bad in found.tolist()]


def _written(pair: Preference) -> str:
    answers = (pair.chosen, pair.rejected)
    good, bad = (answer if len(answer) <= SNIPPET else answer[:SNIPPET] + "…" for answer in answers)
    return f"{pair.messages[-1].content}\nPreferred: {good}\nOther: {bad}"


def _judge(model: PreTrainedModel, pairs: PairSet, this: Run) -> dict[str, Any]:
    lengths = pairs.samples.lengths.reshape(-1, 2)
    return judged(rewards(model, pairs, this.device, "held-out pairs", this.ranks), lengths)


def _dpo(this: Run, stage: Dpo, tuning: Tuning, compared: Compared, folder: Path) -> dict[str, Any]:
    """Score all answers by the model as it is, then train."""
    model = load_model(tuning.source)
    log = this.log(tuning.name)
    reference = _references(this, model, compared, folder)
    last: dict[str, float] = {}

    def evaluate(step: int, tokens: int) -> None:
        if compared.held is not None:
            own = _logprobs(model, compared.held, this, "held-out pairs")
            last.update(preferred(own, reference["held"], stage.beta))
            if this.ranks.lead:
                log.write(step, tokens=tokens, held_out=dict(last))

    loss = partial(dpo_loss, beta=stage.beta, smoothing=stage.smoothing)
    feed = _feed(stage, compared.learnt, this.recipe.seed, reference["learnt"])
    task = Task(feed, loss, DPO_MEASURES, new_rows=tuning.new_rows)
    return tuning.teach(stage, model, task, folder, log, evaluate) | {"held_out": last}


def _logprobs(model: PreTrainedModel, pairs: PairSet, this: Run, name: str) -> NDArray[np.float32]:
    found, _ = sample_logprobs(model, pairs.samples, this.device, name, this.ranks)
    return found.astype(np.float32)


def _references(
    this: Run, model: PreTrainedModel, compared: Compared, folder: Path
) -> dict[str, NDArray[np.float32]]:
    """Every answer's log-probability before training; kept in `folder`, so that a resume, whose
    model has changed, reads them again.
    """
    kept = folder / REFERENCE
    if not kept.exists():
        found = {"learnt": _logprobs(model, compared.learnt, this, "reference")}
        if compared.held is not None:
            found["held"] = _logprobs(model, compared.held, this, "reference, held out")
        if this.ranks.lead:
            part = kept.with_suffix(".part.npz")
            np.savez(part, **found)  # type: ignore[arg-type]
            part.rename(kept)
    this.ranks.wait()
    with np.load(kept, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def preferred(
    own: NDArray[np.float32], reference: NDArray[np.float32], beta: float
) -> dict[str, float]:
    """How the model ranks pairs, of answers' log-probabilities of shape (2 pairs,).

    Returns:
        accuracy of the implicit reward (against the reference), its mean gap, and how often the
        chosen answer is simply the likelier one, before and after.
    """
    shift = beta * (own.astype(np.float64) - reference)
    gap = shift[0::2] - shift[1::2]
    found = {
        "accuracy": float(np.where(gap == 0, 0.5, gap > 0).mean()),
        "gap": float(gap.mean()),
        "likelier": float((own[0::2] > own[1::2]).mean()),
        "likelier_before": float((reference[0::2] > reference[1::2]).mean()),
    }
    return {key: round(value, 4) for key, value in found.items()}
