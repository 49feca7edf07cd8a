"""Reading a recipe: overrides, and errors that name the line and the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from langraft.core.errors import BadInput
from langraft.recipe.section import Section
from langraft.recipe.whole import Recipe


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
