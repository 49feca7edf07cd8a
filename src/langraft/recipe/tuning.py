"""`sft:` and `align:` instruction tuning and learning from preferences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from langraft.recipe.corpus import Clean, Dedup
from langraft.recipe.section import Fraction, Name, Positive, Rate, Section
from langraft.recipe.training import Training


class DataSet(Section):
    """Files of conversations or of preferences.

    Attributes:
        paths: files, folders, globs.
        layout: how records are laid out; default: whatever each record's keys say.
        reads: `conversations`; or preferences, of which the `preferred` answers are learnt (HFFT),
            or both behind what was said of them (`hindsight`, COHFT).
        feedback: what `hindsight` says before a good and before a bad answer.
        min_score: records with a lower score, or with none, are left out.
        clean, dedup: as in `corpus`, of conversations; neither, when not given.
    """

    paths: tuple[str, ...] = Field(min_length=1)
    layout: str | None = None
    reads: Literal["conversations", "preferred", "hindsight"] = "conversations"
    feedback: tuple[str, str] = ("请给出一个好的回答。", "请给出一个不好的回答。")
    min_score: float | None = None
    clean: Clean | None = None
    dedup: Dedup | None = None


class Taught(Training):
    """What all these stages share.

    Attributes:
        data: sets of conversations or of preferences; a path alone is one.
        template: a row of the table of templates, or `tokenizer` for the base's own.
    """

    data: tuple[DataSet, ...] = Field(min_length=1)
    template: str = "tokenizer"

    @field_validator("data", mode="before")
    @classmethod
    def _paths_are_sets(cls, given: Any) -> Any:
        """A path alone is a data set of its own."""
        if isinstance(given, str):
            given = [given]
        if isinstance(given, list | tuple):
            return tuple({"paths": (one,)} if isinstance(one, str) else one for one in given)
        return given


class Sft(Taught):
    """Instruction tuning, on sets of conversations.

    Attributes:
        epochs: how often each conversation is learnt.
        packed: rows hold several conversations that do not see one another, or one each.
        holdout: the share of samples set aside; the loss on them is measured.
        max_unfit: the share of records that may be unfit before the stage refuses the data.
        order: `shuffled`; `easy-to-hard`, in stages by quantile of difficulty; or `sets`, one data
            set after the other.
        difficulty: `loss` (the model's own), `ifd` (loss with the instruction over loss without),
            `length`, or the name of a number in the records.
        levels: stages of `easy-to-hard`.
        replay: samples of earlier stages learnt again in each later one, as a share of that one.
        prompts: questions answered before and after.
    """

    name: Name = "sft"
    epochs: Positive = 1
    packed: bool = True
    holdout: Fraction = 0.0
    max_unfit: Fraction = 0.05
    order: Literal["shuffled", "easy-to-hard", "sets"] = "shuffled"
    difficulty: str = "loss"
    levels: Positive = 3
    replay: Fraction = 0.0
    prompts: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _curriculum_is_an_order(cls, given: Any) -> Any:
        """`curriculum: easy-to-hard` is another way to say `order: easy-to-hard`."""
        if isinstance(given, dict) and "curriculum" in given:
            given = dict(given)
            given["order"] = given.pop("curriculum")
        return given


class Pairs(Taught):
    """What stages share that learn from sets of preferences.

    Attributes:
        epochs: how often each pair is learnt.
        pairs: pairs an optimiser step; `micro_rows` of them are in memory at one time.
        longest: tokens that a question with its answer may have; longer answers are cut.
        holdout: the share of questions set aside to measure on.
        max_unfit: as in `sft`.
    """

    epochs: Positive = 1
    pairs: Positive = 16
    longest: Positive = 512
    holdout: Fraction = 0.1
    max_unfit: Fraction = 0.05


class Reward(Pairs):
    """A reward model: a scalar head, learnt from pairs (Bradley-Terry).

    Attributes:
        margin: what the files' score differences are multiplied with and then demanded as the
            least distance of the rewards; 0 ignores them.
        centre: weight of the squared sum of both rewards, which keeps them around zero
            (arXiv 2312.09244).
    """

    method: Literal["reward"] = "reward"
    name: Name = "reward"
    margin: Annotated[float, Field(ge=0)] = 0.0
    centre: Annotated[float, Field(ge=0)] = 0.0


class Dpo(Pairs):
    """Direct preference optimisation (arXiv 2305.18290).

    Attributes:
        beta: how dear it is to leave the model that the stage starts from.
        smoothing: the share of pairs taken to be labelled the wrong way round
            (conservative DPO).
        prompts: questions answered before and after.
    """

    method: Literal["dpo"] = "dpo"
    name: Name = "dpo"
    lr: Rate = 5e-6
    beta: Rate = 0.1
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    prompts: tuple[str, ...] = ()


class OnPolicy(Taught):
    """What stages share that learn from the model's own answers to the questions of sets of
    conversations or (`reads: preferred`) of preferences.

    Attributes:
        iterations: rounds of answering and learning.
        questions: questions a round.
        group: answers to each question.
        passes: how often each answer is learnt from.
        minibatches: optimiser steps a pass.
        new_tokens: the longest answer.
        longest: longer questions are left out.
        temperature: of sampling.
        answers_at_once: answers that are sampled together on a device; default: all of a round.
        vllm: the `vllm` command, in an environment of its own: it samples, instead of the model
            that learns.
        policy_clip: how far a token's probability may move before its gradient ends.
        rules: weights of rule rewards, by name.
        reward: the name of a reward stage before this one, whose model scores answers too.
        prompts: questions answered before and after.
    """

    iterations: Positive = 16
    questions: Positive = 8
    group: Positive = 1
    passes: Positive = 1
    minibatches: Positive = 1
    new_tokens: Positive = 64
    longest: Positive = 256
    temperature: Rate = 1.0
    answers_at_once: Positive | None = None
    vllm: str | None = None
    policy_clip: Rate = 0.2
    rules: Mapping[str, float] = {}
    reward: str | None = None
    prompts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _something_rewards(self) -> OnPolicy:
        if not self.rules and self.reward is None:
            raise ValueError("nothing rewards an answer: give rules, or reward")
        if self.questions * self.group < self.minibatches:
            raise ValueError(f"{self.minibatches} minibatches of {self.questions} x {self.group}")
        return self


class Ppo(OnPolicy):
    """Proximal policy optimisation (arXiv 1707.06347).

    Attributes:
        critic: what says how much an answer will be worth: a head on the policy's `shared` trunk,
            or an `own` model; either begins as the reward model where there is one.
        kl: what a nat of distance from the starting model costs at first.
        kl_target: nats an answer that the coefficient is steered to; none keeps it as it is.
        horizon: answers over which it is steered.
        gamma, lam: discount, and how far advantages look ahead.
        value_weight, value_clip: of the value loss.
    """

    method: Literal["ppo"] = "ppo"
    name: Name = "ppo"
    lr: Rate = 1e-5
    kl: Annotated[float, Field(ge=0)] = 0.1
    kl_target: Rate | None = None
    horizon: Positive = 1_000
    gamma: Fraction = 1.0
    lam: Fraction = 0.95
    critic: Literal["shared", "own"] = "shared"
    value_weight: Annotated[float, Field(ge=0)] = 0.1
    value_clip: Rate = 0.2


class Grpo(OnPolicy):
    """Group relative policy optimisation (arXiv 2402.03300): no value model, advantages inside each
    question's group of answers.

    Attributes:
        kl: weight of the divergence from the starting model in the loss.
    """

    method: Literal["grpo"] = "grpo"
    name: Name = "grpo"
    lr: Rate = 1e-5
    group: Annotated[int, Field(ge=2)] = 4
    kl: Annotated[float, Field(ge=0)] = 0.04


Align = Annotated[Reward | Dpo | Ppo | Grpo, Field(discriminator="method")]
