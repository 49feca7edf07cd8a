"""The sections of instruction tuning and feedback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langraft.core.errors import BadInput
from langraft.recipe import Dpo, Grpo, Ppo, Recipe, Reward, Sft, load_recipe


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", **sections})


def test_short_forms() -> None:
    found = recipe(sft={"data": ["a.json", {"paths": ["b"], "min_score": 4}]}).sft
    assert isinstance(found, Sft)
    assert [one.paths for one in found.data] == [("a.json",), ("b",)]
    assert found.data[1].min_score == 4
    single = recipe(sft={"data": "a.json", "curriculum": "easy-to-hard"}).sft
    assert single is not None and single.order == "easy-to-hard" and len(single.data) == 1


def test_methods_are_told_apart() -> None:
    stages = [{"method": m, "data": "a"} for m in ("reward", "dpo")]
    stages += [{"method": m, "data": "a", "rules": {"ended": 1}} for m in ("ppo", "grpo")]
    kinds = [type(stage) for stage in recipe(align=stages).align]
    assert kinds == [Reward, Dpo, Ppo, Grpo]


REFUSED = [
    ("sft: {data: []}", "sft.data"),
    ("sft: {data: a, tempalte: qwen}", "unknown key 'sft.tempalte'; did you mean 'template'"),
    ("align: [{method: rlhf, data: a}]", "align.0"),
    ("align: [{method: ppo, data: a}]", "nothing rewards an answer"),
    ("align: [{method: grpo, data: a, reward: r, group: 1}]", "group"),
    ("align: [{method: dpo, data: a}, {method: dpo, data: a}]", "two align stages"),
    (
        "align: [{method: ppo, data: a, reward: r, questions: 2, minibatches: 3}]",
        "3 minibatches of 2 x 1",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"name: x\n{text}\n")
    with pytest.raises(BadInput) as error:
        load_recipe(path)
    assert message in str(error.value) and str(path) in str(error.value)
