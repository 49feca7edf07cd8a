"""The stages that learn from the model's own answers: PPO and GRPO."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from langraft.checkpoint.folder import load_model
from langraft.core.errors import BadInput
from langraft.core.manifest import Stage, outputs_digest
from langraft.data.conversations import Message
from langraft.data.encode import Renderer
from langraft.data.objects import Unfit
from langraft.data.rules import Reply, check_rules, scores
from langraft.pipeline.judging import Judge, judge_of, reward_model, reward_stage
from langraft.pipeline.run import Run
from langraft.pipeline.training import place_of, write_learnt
from langraft.pipeline.tuned import Tuning, conversations_of, tuning_stage
from langraft.recipe import Grpo, Ppo
from langraft.train.critic import add_critic, add_value_head, policy_weights
from langraft.train.experience import Experience
from langraft.train.onpolicy import MEASURES, Collector, policy_loss
from langraft.train.reference import Reference, adapter_off, apart
from langraft.train.reward import pad_for_rewards, with_head
from langraft.train.rollouts import RolloutFeed
from langraft.train.sampling import OwnSampler, Sampler
from langraft.train.shard import whole
from langraft.train.stage import Place, Task
from langraft.train.vllm import VllmSampler

POOL = "experience"
VLLM = "policy"  # where vLLM reads the weights of the moment
UNLIMITED = 1e300  # only what is not finite counts as a spike


def onpolicy_stage(this: Run, stage: Ppo | Grpo) -> Stage:
    """The model so far -> the model after PPO or GRPO.

    Raises:
        BadInput: an unknown rule, or no such reward stage before this one.
    """
    name = f"align-{stage.name}"
    rewarding = reward_stage(this, stage, name)
    try:
        check_rules(stage.rules)
    except BadInput as error:
        raise BadInput(f"align ({stage.name}).rules: {error}") from error

    def learn(folder: Path, tuning: Tuning) -> dict[str, Any]:
        questions = questions_of(this, stage, tuning.renderer, tuning.key)
        judge = judge_of(this, stage, questions, tuning.renderer, place_of(this), rewarding)
        model = load_model(tuning.source)
        if isinstance(stage, Ppo):
            add_critic_to(this, stage, tuning, model, rewarding)
        feed = feed_of(this, stage, tuning, model, judge, folder / POOL)
        task = Task(feed, _loss(stage), MEASURES, tuning.new_rows)
        # a policy's loss is no size: it is near zero at the start of every round
        calm = stage.guard.model_copy(update={"threshold": UNLIMITED})
        quiet_stage = stage.model_copy(update={"guard": calm})
        log = this.log(name)
        results = tuning.teach(quiet_stage, model, task, folder, log, lambda step, tokens: None)
        after = [Reply(side["prompt"], side["after"]) for side in results["samples"]]
        return {
            **results,
            "questions": len(questions),
            **rounds_of(folder / POOL),
            "kl_coefficient": round(feed.kl, 6),
            "rules": [
                {n: round(v, 4) for n, v in scores(reply, stage.rules).items()} for reply in after
            ],
        }

    inputs = {} if rewarding is None else {"reward": outputs_digest(this.manifest(rewarding))}
    return tuning_stage(this, name, stage, learn, (VLLM,), inputs)


def feed_of(
    this: Run,
    stage: Ppo | Grpo,
    tuning: Tuning,
    model: PreTrainedModel,
    judge: Judge,
    pool: Path,
) -> RolloutFeed:
    """The rounds of answers that `model` gives and learns from, kept in `pool`."""
    place, seed = judge.place, this.recipe.seed
    collect = Collector(
        stage,
        model,
        reference_of(stage, tuning, model, place),
        [tuning.renderer.prompt(turns) for turns in judge.questions],
        sampler_of(stage, tuning, model, place, pool.with_name(VLLM)),
        judge,
        place.device,
        seed,
        place.ranks,
    )
    return RolloutFeed(
        collect,
        pool,
        iterations=stage.iterations,
        passes=stage.passes,
        minibatches=stage.minibatches,
        kl=stage.kl,
        seed=seed,
        ranks=place.ranks,
    )


def reference_of(
    stage: Ppo | Grpo, tuning: Tuning, model: PreTrainedModel, place: Place
) -> Reference:
    """The model that the stage begins with: the policy without its adapter where it has one."""
    if stage.train == "lora":
        return adapter_off(model, place)
    return apart(load_model(tuning.source), place)


def sampler_of(
    stage: Ppo | Grpo, tuning: Tuning, model: PreTrainedModel, place: Place, folder: Path
) -> Sampler:
    """What answers: the model itself, or vLLM with its weights."""
    end, new, heat = tuning.renderer.end_id, stage.new_tokens, stage.temperature
    if stage.vllm is None:
        at_once = stage.answers_at_once
        return OwnSampler(model, place.device, end, new, heat, at_once, place.ranks)

    def write(out: Path) -> None:
        named = model.named_parameters()
        weights = {name: whole(p) for name, p in named if p.requires_grad}
        if place.ranks.lead:
            write_learnt(tuning.source, policy_weights(weights), stage, out)

    context = stage.longest + new
    sleeps = place.device.name != "cpu"
    return VllmSampler(stage.vllm, folder, write, end, new, heat, context, place.ranks, sleeps)


def add_critic_to(
    this: Run, stage: Ppo, tuning: Tuning, model: PreTrainedModel, rewarding: str | None
) -> None:
    """Give the policy what says how much an answer will be worth."""
    judge = None if rewarding is None else reward_model(this, rewarding)
    if stage.critic == "shared":
        add_value_head(model, None if judge is None else judge.score.weight)
        return
    if judge is None:  # the policy's own trunk, and a head that says nothing yet
        pad = pad_for_rewards(tuning.renderer.tokenizer, tuning.renderer.end_id)
        judge = with_head(load_model(tuning.source), pad, this.recipe.seed)
        judge.score.weight.data.zero_()
    add_critic(model, judge)


def questions_of(this: Run, stage: Ppo | Grpo, renderer: Renderer, key: str) -> list[list[Message]]:
    """The conversations of all data sets up to their last question; each once.

    Raises:
        BadInput: none is short enough.
    """
    found: dict[tuple[Message, ...], None] = {}
    for one in stage.data:
        for conversation in conversations_of(this, one):
            if not isinstance(conversation, Unfit):
                found[conversation.messages[:-1]] = None
    fitting = [list(turns) for turns in found if len(renderer.prompt(turns)) <= stage.longest]
    if not fitting:
        raise BadInput(
            f"{key}.data: none of {len(found)} questions has {stage.longest} tokens or less"
        )
    return fitting


def _loss(stage: Ppo | Grpo) -> Any:
    if isinstance(stage, Ppo):
        return partial(
            policy_loss,
            clip=stage.policy_clip,
            value_weight=stage.value_weight,
            value_clip=stage.value_clip,
        )
    return partial(policy_loss, clip=stage.policy_clip, kl=stage.kl)


def rounds_of(pool: Path) -> dict[str, Any]:
    """Means of the first and the last quarter of all rounds: reward, length, share in the
    question's language, and divergence.
    """
    rows = []
    for path in sorted(pool.glob("[0-9]*[0-9]")):
        found = Experience.load(path)
        count = len(found.rewards)
        moved = float(np.subtract(found.old, found.reference, dtype=np.float64).sum()) / count
        means = (float(found.rewards.mean()), len(found.old) / count, float(found.language.mean()))
        rows.append((*means, moved))
    table = np.array(rows)
    quarter = max(1, len(table) // 4)
    parts = {"first": table[:quarter].mean(0), "last": table[-quarter:].mean(0)}
    names = ("reward", "answer_tokens", "same_language", "kl")
    return {
        name: {part: round(float(mean[n]), 4) for part, mean in parts.items()}
        for n, name in enumerate(names)
    }
