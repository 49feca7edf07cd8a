"""The reference pages and the schema are what the code says now, and the schema takes what the
recipe takes.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs  # schemathesis stands on it
import pytest
import yaml
from docs_blocks import ROOT, blocks_of
from typer.testing import CliRunner

from langraft.cli import app
from langraft.recipe import load_recipe

RECIPES = sorted(ROOT.glob("recipes/*.yaml"))


def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".ci/reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Yaml12(yaml.SafeLoader):
    """Reads 1e-4 as a number, as editors do (YAML 1.2); PyYAML takes it for text."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:float"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


@pytest.fixture(scope="module")
def schema() -> Any:
    given = CliRunner().invoke(app, ["schema"])
    return jsonschema_rs.validator_for(json.loads(given.stdout))


def complaints(schema: Any, text: str) -> list[str]:
    """What the schema says against a recipe."""
    return [error.message for error in schema.iter_errors(yaml.load(text, Yaml12))]


def test_committed_files_are_what_the_code_says() -> None:
    for path, text in reference().written().items():
        stale = (ROOT / path).read_text(encoding="utf-8") != text
        assert not stale, f"{path} is older than the code: `make reference`"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_holds_to_the_schema(schema: Any, path: Path) -> None:
    assert complaints(schema, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "{name: a, tokeniser: {size: 100}}",
        "{seed: 1}",
        "{name: a, tokenizer: {method: bpe}}",
        "{name: a, pretrain: [{name: one}]}",
        "{name: a, pretrain: [{name: one, tokens: 0}]}",
        "{name: a, align: [{method: dpo, data: []}]}",
    ],
)
def test_both_refuse_the_same(schema: Any, wrong: str, tmp_path: Path) -> None:
    assert complaints(schema, wrong)
    path = tmp_path / "wrong.yaml"
    path.write_text(wrong)
    with pytest.raises(Exception, match=r"wrong\.yaml:1"):
        load_recipe(path)


@pytest.mark.parametrize(
    "short",
    [
        "{name: a, pretrain: [{name: one, tokens: 9, train: all}]}",
        "{name: a, sft: {data: [talks.json], curriculum: easy-to-hard}}",
        "{name: a, align: [{method: dpo, data: pairs.jsonl}]}",
    ],
)
def test_both_take_the_short_forms(schema: Any, short: str, tmp_path: Path) -> None:
    assert complaints(schema, short) == []
    path = tmp_path / "short.yaml"
    path.write_text(short)
    assert load_recipe(path).name == "a"


def test_every_key_has_its_meaning() -> None:
    made = reference().recipe_schema()
    for name, part in {"Recipe": made, **made["$defs"]}.items():
        for key, found in part["properties"].items():
            assert len(found["description"]) > 3, (name, key)


def test_every_verb_is_in_the_reference() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    for verb in ("run", "plan", "tokenizer sweep", "eval choice", "checkpoint merge", "arena rate"):
        assert f"\n## langraft {verb}\n" in page
    assert "| `--devices` | whole number | `1` | how many |" in page
    usages = [block for block in blocks_of("docs/reference/cli.md") if block.language == "text"]
    assert "langraft tokenizer sweep BASE --text TEXT [OPTIONS]\n" in {b.text for b in usages}


def test_the_schema_is_written_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "recipe.schema.json"
    assert CliRunner().invoke(app, ["schema", "--out", str(out)]).exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["title"] == "langraft recipe"
