"""`sft:` and `align:` instruction tuning and learning from preferences."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from langraft.recipe.section import Fraction, Name, Positive, Rate, Section
from langraft.recipe.training import Training


class DataSet(Section):
    """Files of conversations or of preferences.

    Attributes:
        paths: files, folders, globs.
        layout: how records are laid out; default: whatever each record's keys say.
        reads: `conversations`; or preferences, of which the `preferred` answers are learnt (HFFT),
            or both behind what was said of them (`hindsight`, COHFT).
        min_score: records with a lower score, or with none, are left out.
    """

    paths: tuple[str, ...] = Field(min_length=1)
    layout: str | None = None
    reads: Literal["conversations", "preferred", "hindsight"] = "conversations"
    min_score: float | None = None


def _as_sets(given: Any) -> Any:
    """A path alone is a data set of its own."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple):
        return tuple({"paths": (one,)} if isinstance(one, str) else one for one in given)
    return given


class Sft(Training):
    """Instruction tuning.

    Attributes:
        data: sets of conversations; a path alone is one.
        template: a row of the table of templates, or `tokenizer` for the base's own.
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
    data: tuple[DataSet, ...] = Field(min_length=1)
    template: str = "tokenizer"
    epochs: Positive = 1
    packed: bool = True
    holdout: Fraction = 0.0
    max_unfit: Fraction = 0.05
    order: Literal["shuffled", "easy-to-hard", "sets"] = "shuffled"
    difficulty: str = "loss"
    levels: Positive = 3
    replay: Fraction = 0.0
    prompts: tuple[str, ...] = ()

    @field_validator("data", mode="before")
    @classmethod
    def _paths_are_sets(cls, given: Any) -> Any:
        return _as_sets(given)

    @model_validator(mode="before")
    @classmethod
    def _curriculum_is_an_order(cls, given: Any) -> Any:
        """`curriculum: easy-to-hard` is another way to say `order: easy-to-hard`."""
        if isinstance(given, dict) and "curriculum" in given:
            given = dict(given)
            given["order"] = given.pop("curriculum")
        return given


class Pairs(Training):
    """What stages that learn from preferences share.

    Attributes:
        data: sets of preferences; a path alone is one.
        template: as in `sft`.
        epochs: how often each pair is learnt.
        pairs: pairs an optimiser step; `micro_rows` of them are in memory at one time.
        longest: tokens that a question with its answer may have; longer answers are cut.
        holdout: the share of questions set aside to measure on.
        max_unfit: as in `sft`.
    """

    data: tuple[DataSet, ...] = Field(min_length=1)
    template: str = "tokenizer"
    epochs: Positive = 1
    pairs: Positive = 16
    longest: Positive = 512
    holdout: Fraction = 0.1
    max_unfit: Fraction = 0.05

    @field_validator("data", mode="before")
    @classmethod
    def _paths_are_sets(cls, given: Any) -> Any:
        return _as_sets(given)


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


Align = Annotated[Reward | Dpo, Field(discriminator="method")]
