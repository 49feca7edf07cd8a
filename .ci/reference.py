"""Writes what is made from the code: `make reference`.

- recipe.schema.json, for editors: types, limits and defaults from the recipe's models, meanings
  from docs/recipe.md;
- docs/reference/recipe.md: the same as a page, every key by its whole path;
- docs/reference/cli.md: every verb with its options, from the command line itself;
- docs/pictures/house.svg: rooms and floors.

A test fails when a committed file is not what this writes.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main

from langraft.cli import app
from langraft.recipe import Recipe, Section

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".ci"))
from house import house  # noqa: E402

SCHEMA = "src/langraft/recipe/recipe.schema.json"
MADE = "<!-- made by `make reference`; do not edit -->"
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
HERE = re.compile(r",? see \[[^]]+\]\(#[^)]+\)")  # leads to another section of docs/recipe.md
ALIGN = ("Reward", "Dpo", "Ppo", "Grpo")


def written() -> dict[str, str]:
    """Every file that is made, with what belongs into it."""
    schema = recipe_schema()
    return {
        SCHEMA: json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        "docs/reference/recipe.md": recipe_page(schema),
        "docs/reference/cli.md": cli_page(),
        "docs/pictures/house.svg": house(),
    }


def meanings() -> dict[str, dict[str, str]]:
    """What docs/recipe.md says of every key, by section."""
    page = (ROOT / "docs/recipe.md").read_text(encoding="utf-8")
    parts = re.findall(r"^##+ (\w+)$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    row = re.compile(r"^\| `(\w+)` \| .+? \| (.+) \|$", re.MULTILINE)
    return {name: dict(row.findall(body)) for name, body in parts}


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, with the words of docs/recipe.md and the short forms that YAML
    may use.
    """
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "langraft recipe"
    said, models = meanings(), {model.__name__: model for model in _sections()}
    for name, part in {"Recipe": schema, **schema["$defs"]}.items():
        part["description"] = inspect.cleandoc(models[name].__doc__ or "").split("\n\n")[0]
        part["description"] = " ".join(part["description"].split())
        for key, found in part["properties"].items():
            found.pop("title", None)
            if isinstance(found.get("default"), dict) and found["default"]:
                del found["default"]  # stands in the section itself
            found["description"] = LINK.sub(r"\1", HERE.sub("", _meaning(said, models[name], key)))
        _short_forms(name, part["properties"])
    return schema


def _sections(parent: type[Section] = Section) -> Iterator[type[Section]]:
    for child in parent.__subclasses__():
        yield child
        yield from _sections(child)


def _meaning(said: Mapping[str, Mapping[str, str]], model: type[Section], key: str) -> str:
    """From the section of the class that declares the key."""
    if key == "method":
        return "what kind of stage it is"
    owners = [c.__name__ for c in model.__mro__ if key in getattr(c, "__annotations__", {})]
    return next(said[name][key] for name in owners if key in said.get(name, {}))


def _short_forms(name: str, properties: dict[str, Any]) -> None:
    """What the models' validators take besides: `all`, a path alone, `curriculum`."""
    if "train" in properties:
        properties["train"]["enum"].append("all")
    if "data" in properties and "items" in properties["data"]:
        one = {"anyOf": [{"type": "string"}, properties["data"].pop("items")]}
        told = properties["data"]["description"]
        properties["data"] = {
            "description": told,
            "anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": one}],
        }
    if name == "Sft":
        properties["curriculum"] = properties["order"] | {"description": "another word for order"}
        del properties["curriculum"]["default"]


def recipe_page(schema: dict[str, Any]) -> str:
    """Every key of a recipe by its whole path, with what it takes."""
    lines = [
        "# Recipe: every key",
        "",
        MADE,
        "",
        "Every key by its whole path, with what it takes. `[]` stands for an item of a list. What",
        "the sections are for, with an example, is in [The recipe](../recipe.md).",
        "",
        "The same as a [JSON schema](https://json-schema.org), by which an editor checks a recipe",
        "while it is written and completes its keys: `langraft schema --out recipe.schema.json`,",
        "and as the recipe's first line",
        "",
        "```yaml",
        "# yaml-language-server: $schema=recipe.schema.json",
        "```",
        "",
        "(VS Code: the extension YAML by Red Hat; others: yaml-language-server.)",
    ]
    for path, section in _places(schema):
        lines += ["", f"## {path or 'A recipe'}", "", section["description"], ""]
        lines += ["| key | takes | default | meaning |", "|---|---|---|---|"]
        required = section.get("required", ())
        for key, found in section["properties"].items():
            default = "*required*" if key in required else _default(found)
            said = found["description"]
            lines.append(
                f"| `{path}{'.' if path else ''}{key}` | {_takes(found)} | {default} | {said} |"
            )
    return "\n".join(lines) + "\n"


def _places(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every section with the path that leads there, each section once, in the recipe's order."""
    seen: set[str] = set()

    def below(path: str, section: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield path, section
        for key, found in section["properties"].items():
            for name, many in _references(found):
                if name not in seen:
                    seen.add(name)
                    end = "[]" if many else ""
                    kind = f" (method: {name.lower()})" if name in ALIGN else ""
                    place = f"{path}{'.' if path else ''}{key}{end}{kind}"
                    yield from below(place, schema["$defs"][name])

    yield from below("", schema)


def _references(found: dict[str, Any], many: bool = False) -> Iterator[tuple[str, bool]]:
    if "$ref" in found:
        yield found["$ref"].rpartition("/")[2], many
    for other in [*found.get("anyOf", ()), *found.get("oneOf", ())]:
        yield from _references(other, many)
    if "items" in found:
        yield from _references(found["items"], True)


def _takes(found: dict[str, Any]) -> str:
    """A type in words."""
    if "$ref" in found:
        return "a section"
    if "enum" in found:
        return " ".join(f"`{value}`" for value in found["enum"])
    if "const" in found:
        return f"`{json.dumps(found['const'])}`"
    if either := found.get("anyOf") or found.get("oneOf"):
        kinds = dict.fromkeys(_takes(o) for o in either if o.get("type") != "null")
        return " or ".join(kinds)
    if "prefixItems" in found:
        return " and ".join(_takes(item) for item in found["prefixItems"])
    if found["type"] == "array":
        return f"list of {_takes(found['items'])}".replace("of a section", "of sections")
    if found["type"] == "object":
        values = [found.get("additionalProperties"), *found.get("patternProperties", {}).values()]
        return f"names, each: {_takes(next(v for v in values if v))}"
    kind = {"integer": "whole number", "number": "number", "boolean": "true or false"}
    words = kind.get(found["type"], "text")
    signs = (
        ("exclusiveMinimum", ">"),
        ("minimum", "≥"),
        ("exclusiveMaximum", "<"),
        ("maximum", "≤"),
    )
    limits = [f"{sign} {found[key]:g}" for key, sign in signs if key in found]
    return " ".join([words, ", ".join(limits)]).strip()


def _default(found: dict[str, Any]) -> str:
    if "default" not in found:
        return ""
    value = found["default"]
    if value is None:
        return "*none*"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def cli_page() -> str:
    """Every verb with its arguments and options."""
    lines = [
        "# Command line",
        "",
        MADE,
        "",
        "Results go to stdout, everything else to stderr. `--json` prints one JSON object as the",
        "last line of stdout. Exit codes: 0 done, 1 failed, 2 bad usage or bad input; the message",
        "names the file, line or key.",
    ]
    for name, command in _verbs(typer.main.get_command(app), "langraft"):
        lines += ["", f"## {name}", "", _help(command), ""]
        lines += ["```text", _usage(name, command), "```", ""]
        lines += ["| | takes | default | |", "|---|---|---|---|"]
        lines += [_parameter(p) for p in command.params if p.name != "help" and not p.hidden]
    return "\n".join(lines) + "\n"


def _verbs(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _verbs(child, f"{path} {name}")


def _help(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("\f", "")


def _usage(name: str, command: Any) -> str:
    words = [name]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
            words.append(word if parameter.required else f"[{word}]")
        elif parameter.required:
            words.append(f"{parameter.opts[0]} {_kind(parameter).upper()}")
    return " ".join([*words, "[OPTIONS]"])


def _kind(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    names = re.findall(r"\b(Path|str|int|float|bool)\b", getattr(annotation, "__name__", ""))
    names = names or re.findall(r"\b(Path|str|int|float|bool)\b", str(annotation))
    words = {"Path": "path", "str": "text", "int": "whole number", "float": "number", "bool": ""}
    return words[names[0]] if names else "text"


def _parameter(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    names = [parameter.name.upper()] if argument else [*parameter.opts, *parameter.secondary_opts]
    kind = _kind(parameter) + (", may be repeated" if parameter.multiple else "")
    default = "*required*" if parameter.required else _value(parameter.default)
    said = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| {' '.join(f'`{name}`' for name in names)} | {kind} | {default} | {said} |"


def _value(default: Any) -> str:
    if default is None or default is False or default == () or callable(default):
        return ""
    return f"`{default}`"


if __name__ == "__main__":
    for path, text in written().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(path)  # noqa: T201
