"""The stages that learn from the model's own answers: PPO and GRPO."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from langraft.checkpoint.folder import load_model, quiet
from langraft.core.errors import BadInput
from langraft.core.manifest import Stage, outputs_digest
from langraft.data.conversations import ASSISTANT, Message
from langraft.data.encode import Renderer, cut
from langraft.data.objects import Unfit
from langraft.data.rules import Reply, check_rules, scores, total
from langraft.data.samples import batch_of, lay
from langraft.pipeline.run import Run
from langraft.pipeline.tuned import (
    Tuning,
    conversations_of,
    renderer_of,
    tuning_stage,
)
from langraft.recipe import Grpo, Ppo
from langraft.train.onpolicy import MEASURES, add_value_head, collector, policy_loss
from langraft.train.precision import Device
from langraft.train.preference import rewards_of
from langraft.train.rollouts import Floats, OwnSampler, RolloutFeed
from langraft.train.scoring import groups, scoring
from langraft.train.stage import Task

POOL = "experience"
UNLIMITED = 1e300  # only what is not finite counts as a spike


@dataclasses.dataclass(frozen=True)
class Judge:
    """What an answer is worth: the rules' weighted sum, and a reward model's score.

    Attributes:
        questions: each as its turns.
        longest: tokens that the reward model reads.
    """

    questions: list[list[Message]]
    renderer: Renderer
    rules: dict[str, float]
    device: Device
    model: PreTrainedModel | None = None
    reader: Renderer | None = None
    longest: int = 512

    def __call__(self, numbers: list[int], ids: list[list[int]]) -> Floats:
        """The rewards of answers to some questions, shape (answers,)."""
        replies = self.replies(numbers, ids)
        found = np.array([total(reply, self.rules) for reply in replies])
        if self.model is not None:
            texts = [reply.answer for reply in replies]
            found = found + self._modelled(numbers, texts)
        return found

    def replies(self, numbers: list[int], ids: list[list[int]]) -> list[Reply]:
        """The answers as text."""
        end = self.renderer.end_id
        texts = self.renderer.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [
            Reply(self.questions[n][-1].content, text.strip(), answer[-1] == end)
            for n, text, answer in zip(numbers, texts, ids, strict=True)
        ]

    def _modelled(self, numbers: list[int], texts: list[str]) -> Floats:
        assert self.model is not None and self.reader is not None
        whole = [
            [*self.questions[n], Message(ASSISTANT, text)]
            for n, text in zip(numbers, texts, strict=True)
        ]
        samples = lay([cut(found[-1], self.longest) for found in self.reader.encode(whole)])
        rewards = []
        with scoring(self.model, self.device):
            for group in groups(samples.lengths):
                batch: Any = batch_of([samples[n] for n in group])
                rewards.append(rewards_of(self.model, batch, self.device).double().cpu())
        return np.asarray(torch.cat(rewards).numpy())


def onpolicy_stage(this: Run, stage: Ppo | Grpo) -> Stage:
    """The model so far -> the model after PPO or GRPO.

    Raises:
        BadInput: an unknown rule, or no such reward stage before this one.
    """
    name = f"align-{stage.name}"
    rewarding = _reward_stage(this, stage, name)
    try:
        check_rules(stage.rules)
    except BadInput as error:
        raise BadInput(f"align ({stage.name}).rules: {error}") from error

    def learn(folder: Path, tuning: Tuning) -> dict[str, Any]:
        questions = questions_of(this, stage, tuning.renderer, tuning.key)
        judge = judge_of(this, stage, questions, tuning.renderer, rewarding)
        model = load_model(tuning.source)
        if isinstance(stage, Ppo):
            add_value_head(model, None if judge.model is None else judge.model.score.weight)
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
    return tuning_stage(this, name, stage, learn, inputs=inputs)


def feed_of(
    this: Run,
    stage: Ppo | Grpo,
    tuning: Tuning,
    model: PreTrainedModel,
    judge: Judge,
    pool: Path,
) -> RolloutFeed:
    """The rounds of answers that `model` gives and learns from, kept in `pool`."""
    renderer, device, seed = tuning.renderer, this.device, this.recipe.seed
    reference = load_model(tuning.source)
    reference.to(device.name)
    sampler = OwnSampler(model, device, renderer.end_id, stage.new_tokens, stage.temperature)
    prompts = [renderer.prompt(turns) for turns in judge.questions]
    return RolloutFeed(
        collector(stage, model, reference, prompts, sampler, judge, device, seed),
        pool,
        iterations=stage.iterations,
        passes=stage.passes,
        minibatches=stage.minibatches,
        kl=stage.kl,
        seed=seed,
    )


def _reward_stage(this: Run, stage: Ppo | Grpo, name: str) -> str | None:
    if stage.reward is None:
        return None
    names = this.stages()
    earlier = names[: names.index(name)]
    there = [f"align-{s.name}" for s in this.recipe.align if s.method == "reward"]
    if f"align-{stage.reward}" not in [n for n in there if n in earlier]:
        known = ", ".join(n.removeprefix("align-") for n in there if n in earlier) or "none"
        raise BadInput(
            f"{name}: reward: no reward stage {stage.reward!r} before it; known: {known}"
        )
    return f"align-{stage.reward}"


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


def judge_of(
    this: Run,
    stage: Ppo | Grpo,
    questions: list[list[Message]],
    renderer: Renderer,
    rewarding: str | None,
) -> Judge:
    """The judge that the stage's keys describe."""
    plain = Judge(questions, renderer, dict(stage.rules), this.device)
    if rewarding is None:
        return plain
    folder = this.out / rewarding
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    model.to(this.device.name).eval()
    reader = renderer_of(folder, "tokenizer", rewarding)
    longest = stage.longest + stage.new_tokens
    return dataclasses.replace(plain, model=model, reader=reader, longest=longest)


def _loss(stage: Ppo | Grpo) -> Any:
    if isinstance(stage, Ppo):
        return partial(
            policy_loss,
            clip=stage.clip,
            value_weight=stage.value_weight,
            value_clip=stage.value_clip,
        )
    return partial(policy_loss, clip=stage.clip, kl=stage.kl)


def rounds_of(pool: Path) -> dict[str, Any]:
    """The mean reward, length and divergence of the first and the last quarter of all rounds."""
    rows = []
    for path in sorted(pool.glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            count = len(stored["rewards"])
            moved = float((stored["old"] - stored["reference"]).sum()) / count
            rows.append((float(stored["rewards"].mean()), len(stored["old"]) / count, moved))
    table = np.array(rows)
    quarter = max(1, len(table) // 4)
    parts = {"first": table[:quarter].mean(0), "last": table[-quarter:].mean(0)}
    names = ("reward", "answer_tokens", "kl")
    return {
        name: {part: round(float(mean[n]), 4) for part, mean in parts.items()}
        for n, name in enumerate(names)
    }
