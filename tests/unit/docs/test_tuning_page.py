"""docs/tuning.md teaches every method with a command that makes a recipe with that method."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from langraft.recipe import Recipe, load_recipe


def recipes(root: Path, folder: Path) -> list[Recipe]:
    page = (root / "docs/tuning.md").read_text(encoding="utf-8")
    two_lines = re.search(r"```yaml\n(name: me\n.*?)```", page, re.DOTALL)
    assert two_lines
    path = folder / "me.yaml"
    path.write_text(two_lines[1], encoding="utf-8")
    commands = [
        shlex.split(block)
        for block in re.findall(r"^```\n(langraft run me\.yaml.*?)\n```$", page, re.MULTILINE)
    ]
    return [load_recipe(path, [w[w.index("--set") + 1]]) for w in commands]


def test_every_method_has_its_command(root: Path, tmp_path: Path) -> None:
    found = recipes(root, tmp_path)
    tuned = [recipe.sft for recipe in found if recipe.sft]
    assert {(one.order, one.data[0].reads) for one in tuned} == {
        ("shuffled", "conversations"),
        ("easy-to-hard", "conversations"),
        ("shuffled", "preferred"),
        ("shuffled", "hindsight"),
    }
    assert {stage.method for recipe in found for stage in recipe.align} == {
        "reward",
        "dpo",
        "ppo",
        "grpo",
    }
