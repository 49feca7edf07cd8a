"""The recipe: one YAML file as frozen models."""

from __future__ import annotations

from pydantic import Field, model_validator

from langraft.recipe.corpus import Corpus
from langraft.recipe.evals import Eval
from langraft.recipe.export import Export
from langraft.recipe.graft import Graft
from langraft.recipe.hardware import Hardware
from langraft.recipe.pretrain import Forgetting, Pretrain
from langraft.recipe.section import Name, Section
from langraft.recipe.tokenizer import Tokenizer
from langraft.recipe.tuning import Align, Sft


class Language(Section):
    """The language to teach: its code and the Unicode scripts it is written in."""

    code: Name
    scripts: tuple[str, ...] = Field(min_length=1)


class Recipe(Section):
    """A whole run. Only `name` is required; a verb that needs an absent section says which."""

    name: Name
    seed: int = 17
    base: str | None = None
    language: Language | None = None
    corpus: Corpus | None = None
    tokenizer: Tokenizer | None = None
    graft: Graft | None = None
    pretrain: tuple[Pretrain, ...] = ()
    forgetting: Forgetting = Forgetting()
    sft: Sft | None = None
    align: tuple[Align, ...] = ()
    eval: Eval | None = None
    export: Export | None = None
    hardware: Hardware = Hardware()

    @model_validator(mode="after")
    def _stages_are_named_apart(self) -> Recipe:
        names = [stage.name for stage in self.pretrain]
        if len(set(names)) < len(names):
            raise ValueError("two pretrain stages have the same name")
        names = [stage.name for stage in self.align]
        if len(set(names)) < len(names):
            raise ValueError("two align stages have the same name")
        return self
