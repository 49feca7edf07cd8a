"""The recipe: one YAML file, read into frozen models. An unknown key is an error that names its
line and the nearest known key.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from langraft.core.errors import BadInput

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Section(BaseModel):
    """A part of the recipe: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Language(Section):
    """The language to teach: its code and the Unicode scripts it is written in."""

    code: Name
    scripts: tuple[str, ...] = Field(min_length=1)


class Source(Section):
    """One body of text: files or folders (globs allowed), their language, and the bucket their
    documents belong to.
    """

    name: Name
    paths: tuple[str, ...] = Field(min_length=1)
    language: Name
    bucket: Name = "knowledge"
    text_key: str = "text"


class Clean(Section):
    """Normalisation of every document."""

    normalise: Literal["nfkc", "none"] = "nfkc"


class Dedup(Section):
    """Which duplicates go."""

    exact: bool = True


class Holdout(Section):
    """How many UTF-8 bytes of each source are set aside, never trained on, and used to measure."""

    bytes: Positive = 200_000


class Corpus(Section):
    """Text in: sources, cleaning, rules, dedup, hold-out. `rules` names a table; `thresholds`
    overrides it key by key.
    """

    sources: tuple[Source, ...] = Field(min_length=1)
    clean: Clean = Clean()
    rules: str = "any"
    thresholds: Mapping[str, float] = {}
    dedup: Dedup = Dedup()
    holdout: Holdout = Holdout()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Corpus:
        names = [source.name for source in self.sources]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two sources are called {sorted(twice)[0]!r}; give each its own name")
        return self


class Tokenizer(Section):
    """How the vocabulary grows. `size` counts added pieces; `pad_to` rounds the model's rows up to
    a multiple.
    """

    method: Literal["keep", "continued-bpe"] = "continued-bpe"
    size: Positive = 1_600
    pad_to: Positive = 64
    min_frequency: Positive = 2
    max_piece_characters: Positive = 16


class Distil(Section):
    """How new rows are learnt from the base's own hidden states.

    Attributes:
        positions: states of the base that the input rows learn from.
        depth: layers after which they are taken.
        steps, batch_tokens, lr: the input rows' steps, tokens a step, and Adam's peak rate.
        output_positions: states of the grafted model that the output rows are fitted on.
        output_steps, output_batch, output_lr: the fit's steps, positions a step, and rate.
        ridge: pull of each output row towards its start, a weight on the squared distance.
    """

    positions: Positive = 40_000
    depth: Positive = 8
    steps: Positive = 120
    batch_tokens: Positive = 720
    lr: Rate = 5e-3
    output_positions: Positive = 80_000
    output_steps: Positive = 300
    output_batch: Positive = 2_048
    output_lr: Rate = 3e-3
    ridge: Annotated[float, Field(ge=0)] = 10.0


class Graft(Section):
    """How new rows start. `untie: auto` unties a tied model exactly when its output rows are
    learned on their own.
    """

    init: Literal["subtoken-mean", "distil"] = "distil"
    untie: Literal["auto"] | bool = "auto"
    distil: Distil = Distil()


class Pretrain(Section):
    """One stage of continued pretraining.

    Attributes:
        train: `new-rows`, `embeddings` or `full`.
        tokens: budget in tokens of the model's tokenizer.
        lr: peak rate; `lr_new_rows` is the rate of the added rows (default: the same).
        mix: share of every batch by language; must sum to 1. Default: the new language alone.
        batch_tokens, row_tokens: tokens an optimiser step, and tokens a packed row; the first is a
            multiple of the second.
        micro_rows: rows in memory at one time; gradients add up over the batch (default: the whole
            batch).
        warmup, decay: shares of the steps (WSD schedule: linear warm-up, stable, linear decay to
            zero).
        evaluate: how many times bits per byte are measured on the way, the end included.
    """

    name: Name
    train: Literal["new-rows", "embeddings", "full"] = "full"
    tokens: Positive
    lr: Rate = 1e-4
    lr_new_rows: Rate | None = None
    mix: Mapping[Name, Fraction] = {}
    batch_tokens: Positive = 1_024
    row_tokens: Positive = 512
    micro_rows: Positive | None = None
    warmup: Fraction = 0.05
    decay: Fraction = 0.5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Rate = 1.0
    evaluate: Positive = 1
    checkpoint_seconds: Rate = 60

    @model_validator(mode="after")
    def _budget_fits(self) -> Pretrain:
        if self.batch_tokens % self.row_tokens:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of row_tokens "
                f"{self.row_tokens}"
            )
        if self.mix and abs(sum(self.mix.values()) - 1) > 1e-6:
            raise ValueError(f"mix sums to {sum(self.mix.values()):g}, not to 1")
        if self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup {self.warmup} and decay {self.decay} are more than the whole stage"
            )
        return self


class Forgetting(Section):
    """The old languages' allowed relative rise in bits per byte, and what a breach does."""

    max_rise: Annotated[float, Field(ge=0)] = 0.03
    on_breach: Literal["warn", "stop"] = "warn"


class Eval(Section):
    """What is measured, and what counts as success.

    Attributes:
        bits: measure bits per byte on the hold-out of every source.
        window: tokens a model sees at a time.
        max_bytes: UTF-8 bytes scored for each source, spread over its held-out documents.
        prompts: texts continued by the base and the new model, for the report.
        better_bits: target: the new language's bits per byte fall by at least this share of the
            base's.
        fewer_tokens: target: the new language takes at least so many times fewer tokens per
            character.
    """

    bits: Literal[True] = True
    window: Positive = 512
    max_bytes: Positive = 24_000
    prompts: tuple[str, ...] = ()
    better_bits: Fraction = 0.05
    fewer_tokens: Annotated[float, Field(ge=1)] = 1.8


class Hardware(Section):
    """Where it runs. `auto` takes a GPU when there is one, and bf16 where the device computes in
    it.
    """

    devices: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: Positive | None = None


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
    eval: Eval | None = None
    hardware: Hardware = Hardware()

    @model_validator(mode="after")
    def _stages_are_named_apart(self) -> Recipe:
        names = [stage.name for stage in self.pretrain]
        if len(set(names)) < len(names):
            raise ValueError("two pretrain stages have the same name")
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe in `path`, with `a.b=c` overrides (values are YAML; list items by index) laid
    over it.

    Raises:
        BadInput: not YAML, an unknown key, a bad value; the message names file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
        lines = _lines(yaml.compose(text, Loader=yaml.SafeLoader))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such recipe") from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise BadInput(f"{path}: not a YAML file: {error}") from error
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: a recipe is a mapping with at least `name:`")
    for override in overrides:
        _override(tree, override)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise BadInput("\n".join(_explain(path, lines, tree, e) for e in error.errors())) from error


def needs(recipe: Recipe, *sections: str) -> None:
    """Check that the recipe has every named section.

    Raises:
        BadInput: one is absent; the message names it.
    """
    for section in sections:
        if getattr(recipe, section) in (None, ()):
            raise BadInput(
                f"recipe {recipe.name!r} has no `{section}:` section, and this step needs one"
            )


def _lines(
    node: yaml.Node | None, path: tuple[str | int, ...] = ()
) -> dict[tuple[str | int, ...], int]:
    """The 1-based line of every key path below a composed YAML node."""
    found = {path: node.start_mark.line + 1} if node is not None else {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found |= _lines(value, (*path, key.value)) | {
                (*path, key.value): key.start_mark.line + 1
            }
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found |= _lines(value, (*path, index))
    return found


def _override(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise BadInput(
            f"--set {override}: write it as key.key=value, for example --set "
            f"pretrain.0.tokens=10000"
        )
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    place: Any = tree
    try:
        for part in parents:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        if not isinstance(place, dict):
            place[last]
        place[last] = yaml.safe_load(value)
    except (KeyError, IndexError, TypeError) as error:
        raise BadInput(f"--set {override}: the recipe has no place {key!r}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"--set {override}: the value is not YAML ({error})") from error


def _explain(path: Path, lines: Mapping[tuple[str | int, ...], int], tree: Any, error: Any) -> str:
    place = tuple(error["loc"])
    known = next((place[:n] for n in range(len(place), -1, -1) if place[:n] in lines), ())
    where = f"{path}:{lines.get(known, 1)}"
    key = ".".join(str(part) for part in place) or "recipe"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _keys_at(place[:-1]), n=1)
        return f"{where}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    value = (
        ""
        if isinstance(error["input"], dict | list) or error["type"] == "missing"
        else f" (got {error['input']!r})"
    )
    return f"{where}: {key}: {error['msg']}{value}"


def _keys_at(place: Sequence[str | int]) -> list[str]:
    """The keys that the section at `place` knows."""
    model: Any = Recipe
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            model = _section_of(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _section_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(
        (found for arg in getattr(annotation, "__args__", ()) if (found := _section_of(arg))), None
    )
