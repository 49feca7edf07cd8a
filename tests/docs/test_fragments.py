"""Blocks that are no commands: parts of recipes are ones that a recipe takes, Python compiles, JSON
is JSON.
"""

from __future__ import annotations

import ast
import json

import pytest
import yaml
from docs_blocks import Block, all_blocks

from langraft.recipe import Recipe

BLOCKS = all_blocks()
RECIPES = [block for block in BLOCKS if block.language == "yaml"]


@pytest.mark.parametrize("block", RECIPES, ids=lambda block: block.place)
def test_a_part_of_a_recipe_is_taken(block: Block) -> None:
    tree = yaml.safe_load(block.text) or {}
    assert isinstance(tree, dict)
    if "corpus" in tree:  # a page about one step leaves the sources out
        tree["corpus"].setdefault("sources", [{"name": "a", "paths": ["a"], "language": "a"}])
    Recipe.model_validate({"name": "part-of-a-page", **tree})


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language in ("python", "json")], ids=lambda block: block.place
)
def test_programs_and_data_can_be_read(block: Block) -> None:
    read = json.loads(block.text) if block.language == "json" else ast.parse(block.text).body
    assert read


def test_blocks_are_found() -> None:
    kinds = {block.language for block in BLOCKS}
    assert {"sh", "yaml", "python", "text"} <= kinds
    assert len(BLOCKS) > 60 and len(RECIPES) > 10
