"""What the answers of a model that learns are worth: rules, and a reward model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from langraft.checkpoint.folder import quiet
from langraft.core.errors import BadInput
from langraft.data.conversations import ASSISTANT, Message
from langraft.data.encode import Renderer, cut
from langraft.data.rules import Reply, same_language, total
from langraft.data.samples import lay
from langraft.pipeline.run import Run
from langraft.pipeline.tuned import renderer_of
from langraft.recipe import Grpo, Ppo
from langraft.train.onpolicy import Judged
from langraft.train.reference import settle
from langraft.train.scoring import Floats, sample_rewards
from langraft.train.stage import Place


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
    place: Place
    model: PreTrainedModel | None = None
    reader: Renderer | None = None
    longest: int = 512

    def __call__(self, numbers: list[int], ids: list[list[int]]) -> Judged:
        """Answers to some questions, judged."""
        replies = self.replies(numbers, ids)
        rewards = np.array([total(reply, self.rules) for reply in replies])
        if self.model is not None:
            rewards = rewards + self._modelled(numbers, [reply.answer for reply in replies])
        language = np.array([same_language(reply) for reply in replies])
        return Judged(rewards, language, np.array([float(reply.ended) for reply in replies]))

    def replies(self, numbers: list[int], ids: list[list[int]]) -> list[Reply]:
        """The answers as text."""
        end = self.renderer.end_id
        texts = self.renderer.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [
            Reply(self.questions[n][-1].content, text.strip(), answer[-1] == end)
            for n, text, answer in zip(numbers, texts, ids, strict=True)
        ]

    def _modelled(self, numbers: list[int], texts: list[str]) -> Floats:
        assert self.model is not None
        assert self.reader is not None
        whole = [
            [*self.questions[n], Message(ASSISTANT, text)]
            for n, text in zip(numbers, texts, strict=True)
        ]
        samples = lay([cut(found[-1], self.longest) for found in self.reader.encode(whole)])
        return sample_rewards(self.model, samples, self.place.device, ranks=self.place.ranks)


def judge_of(
    this: Run,
    stage: Ppo | Grpo,
    questions: list[list[Message]],
    renderer: Renderer,
    place: Place,
    rewarding: str | None,
) -> Judge:
    """The judge that a stage's keys describe, and the model that the stage `rewarding` left."""
    plain = Judge(questions, renderer, dict(stage.rules), place)
    if rewarding is None:
        return plain
    model = reward_model(this, rewarding)
    settle(model, place)
    reader = renderer_of(this.out / rewarding, "tokenizer", rewarding)
    longest = stage.longest + stage.new_tokens
    return dataclasses.replace(plain, model=model, reader=reader, longest=longest)


def reward_model(this: Run, stage: str) -> PreTrainedModel:
    """The model that a reward stage left, on the CPU."""
    with quiet():
        found: Any = AutoModelForSequenceClassification.from_pretrained(
            this.out / stage, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    model: PreTrainedModel = found.eval()
    return model


def reward_stage(this: Run, stage: Ppo | Grpo, name: str) -> str | None:
    """The name of the stage whose reward model judges, if there is one.

    Raises:
        BadInput: there is no such stage before this one.
    """
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
