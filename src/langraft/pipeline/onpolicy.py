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
from langraft.core.io import PARTIAL, remove, write_json
from langraft.core.manifest import Stage, outputs_digest
from langraft.data.conversations import ASSISTANT, Message
from langraft.data.encode import Renderer, cut
from langraft.data.objects import Unfit
from langraft.data.rules import Reply, check_rules, scores, total
from langraft.data.samples import batch_of, lay
from langraft.pipeline.pretrain import ASKED, refuse_foreign_checkpoint, write_learnt
from langraft.pipeline.run import Run
from langraft.pipeline.tuned import (
    answers,
    conversations_of,
    data_digest,
    model_digest_of,
    model_so_far,
    renderer_of,
    write_template,
)
from langraft.recipe import Grpo, Ppo
from langraft.tokenizer.encoder import load_encoder
from langraft.train.checkpoints import drop_checkpoint
from langraft.train.onpolicy import MEASURES, add_value_head, collector, policy_loss
from langraft.train.precision import Device
from langraft.train.preference import rewards_of
from langraft.train.rollouts import Floats, OwnSampler, RolloutFeed
from langraft.train.scoring import groups, scoring
from langraft.train.stage import Place, Task, train_stage

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
    before, source = model_so_far(this, name)
    key = f"align ({stage.name})"
    rewarding = _reward_stage(this, stage, name)
    try:
        check_rules(stage.rules)
    except BadInput as error:
        raise BadInput(f"{key}.rules: {error}") from error

    def work(folder: Path) -> dict[str, Any]:
        if this.ranks.lead:
            write_json(folder / ASKED, {"settings": settings, "inputs": inputs})
        renderer = renderer_of(source, stage.template, key)
        questions = questions_of(this, stage, renderer, key)
        judge = judge_of(this, stage, questions, renderer, rewarding)
        model, reference = load_model(source), load_model(source)
        reference.to(this.device.name)
        valued = isinstance(stage, Ppo)
        if valued:
            add_value_head(model, None if judge.model is None else judge.model.score.weight)
        sampler = OwnSampler(
            model, this.device, renderer.end_id, stage.new_tokens, stage.temperature
        )
        prompts = [renderer.prompt(turns) for turns in questions]
        seed = this.recipe.seed
        feed = RolloutFeed(
            collector(stage, model, reference, prompts, sampler, judge, this.device, seed),
            folder / POOL,
            iterations=stage.iterations,
            passes=stage.passes,
            minibatches=stage.minibatches,
            kl=stage.kl,
            seed=seed,
        )
        replies = [answers(model, renderer, stage.prompts, this.device)]
        place = Place(this.device, this.ranks, this.recipe.hardware, seed)
        task = Task(feed, _loss(stage), MEASURES, _new_rows(this, source))
        log = this.log(name)
        # a policy's loss is no size: it is near zero at the start of every round
        calm = stage.guard.model_copy(update={"threshold": UNLIMITED})
        quiet_stage = stage.model_copy(update={"guard": calm})
        done = train_stage(model, task, quiet_stage, place, folder, log, lambda step, tokens: None)
        rounds = rounds_of(folder / POOL)
        if this.ranks.lead:
            write_learnt(source, done.weights, stage, folder)
            write_template(renderer, folder)
            drop_checkpoint(folder)
            remove(folder / ASKED)
            replies.append(
                answers(load_model(folder), renderer, stage.prompts, Device("cpu", False))
            )
        sides = zip(stage.prompts, replies[0], replies[-1], strict=True)
        return {
            **done.numbers,
            "questions": len(questions),
            **rounds,
            "kl_coefficient": round(feed.kl, 6),
            "samples": [{"prompt": p, "before": a, "after": b} for p, a, b in sides],
            "rules": [
                {n: round(v, 4) for n, v in scores(Reply(p, b), stage.rules).items()}
                for p, b in zip(stage.prompts, replies[-1], strict=True)
            ],
        }

    settings = {**stage.model_dump(mode="json"), "seed": this.recipe.seed, "bf16": this.device.bf16}
    settings |= {key: getattr(this.recipe.hardware, key) for key in ("states", "frozen")}
    inputs = {"model": model_digest_of(this, before), "data": data_digest(this, stage.data)}
    if rewarding is not None:
        inputs["reward"] = outputs_digest(this.manifest(rewarding))
    made = Stage(name, settings, inputs, work)
    refuse_foreign_checkpoint(this.out / (made.name + PARTIAL), made)
    return made


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


def _new_rows(this: Run, source: Path) -> tuple[int, int]:
    return load_encoder(this.base).size, load_encoder(source).size


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
