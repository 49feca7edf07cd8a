"""docs/recipe.md says of every key of the recipe what it is by default, and of no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from langraft import recipe
from langraft.recipe import Section


def below(section: type[Section]) -> list[type[Section]]:
    return [s for sub in section.__subclasses__() for s in (sub, *below(sub))]


SECTIONS = sorted(below(Section), key=lambda section: section.__name__)


def written_default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    if field.default is None:
        return "*none*"
    if isinstance(field.default, Section):
        return "see below"
    value: Any = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def defaults_of(page: str, section: str) -> dict[str, str]:
    part = re.search(rf"^##+ {section}$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert part, f"docs/recipe.md has no section {section}"
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", part[1], re.MULTILINE))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_and_its_default_are_documented(root: Path, section: type[Section]) -> None:
    page = (root / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert defaults_of(page, section.__name__) == {
        k: written_default(f)
        for k, f in section.model_fields.items()
        if k in section.__annotations__  # what it shares stands in the section of its parent
    }


def test_the_example_is_a_recipe(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "recipe.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example
    path = tmp_path / "recipe.yaml"
    path.write_text(example[1], encoding="utf-8")
    loaded = recipe.load_recipe(path)
    assert loaded.corpus and [source.name for source in loaded.corpus.sources] == ["zh", "en"]
