"""Recipes: what they may say, and what a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from langraft.core.errors import BadInput
from langraft.recipe import Pretrain, Recipe, load_recipe, needs

WHOLE = """\
name: demo
language: {code: zh, scripts: [Han]}
corpus:
  sources:
    - {name: zh, paths: [zh.txt], language: zh}
    - name: en
      paths: [en.txt]
      language: en
pretrain:
  - name: one
    tokens: 4096
    lr: 1e-4
    mix: {zh: 0.75, en: 0.25}
  - name: two
    tokens: 30_720
"""


def _load(folder: Path, text: str = WHOLE, *overrides: str) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(text)
    return load_recipe(path, overrides)


def _message(folder: Path, text: str = WHOLE, *overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        _load(folder, text, *overrides)
    return str(caught.value).replace(f"{folder}/", "")


def test_values_and_defaults(tmp_path: Path) -> None:
    recipe = _load(tmp_path)
    assert (recipe.seed, recipe.base, recipe.tokenizer) == (17, None, None)
    assert recipe.corpus is not None
    assert [source.bucket for source in recipe.corpus.sources] == ["knowledge"] * 2
    assert [stage.tokens for stage in recipe.pretrain] == [4096, 30720]
    assert recipe.pretrain[0].lr == 1e-4
    assert recipe.pretrain[0].mix == {"zh": 0.75, "en": 0.25}


def test_only_the_name_is_required(tmp_path: Path) -> None:
    assert _load(tmp_path, "name: x").pretrain == ()
    assert _message(tmp_path, "seed: 1") == "r.yaml:1: name: Field required"


def test_a_recipe_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        _load(tmp_path).seed = 3


def test_the_shipped_recipes_are_valid(root: Path) -> None:
    paths = sorted((root / "recipes").glob("*.yaml"))
    assert paths
    for path in paths:
        assert load_recipe(path).name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: demo", "name: demo\ncorpsu: {}", "r.yaml:2: unknown key 'corpsu'; did you mean "
         "'corpus'?"),
        ("code: zh", "cod: zh", "r.yaml:2: unknown key 'language.cod'; did you mean 'code'?"),
        ("lr: 1e-4", "learning: 1", "r.yaml:12: unknown key 'pretrain.0.learning'"),
        ("lr: 1e-4", "lr_new_row: 1", "r.yaml:12: unknown key 'pretrain.0.lr_new_row'; did you "
         "mean 'lr_new_rows'?"),
        ("paths: [en.txt]", "path: [en.txt]", "r.yaml:7: unknown key 'corpus.sources.1.path'; did "
         "you mean 'paths'?"),
    ],
)  # fmt: skip
def test_an_unknown_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = _message(tmp_path, WHOLE.replace(old, new)).splitlines()
    assert message in found


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("tokens: 4096", "tokens: many", 11, "pretrain.0.tokens: Input should be a valid integer"),
        ("tokens: 4096", "tokens: 0", 11, "(got 0)"),
        ("name: demo", "name: Demo Run", 1, "name: String should match pattern"),
        ("en: 0.25", "en: 0.5", 10, "pretrain.0: Value error, mix sums to 1.25, not to 1"),
        ("name: two", "name: one", 1, "two pretrain stages have the same name"),
        ("- name: en", "- name: zh", 3, "corpus: Value error, two sources are called 'zh'"),
        ("tokens: 4096", "tokens: 4096\n    row_tokens: 300", 10,
         "batch_tokens 1024 is not a multiple of row_tokens 300"),
        ("tokens: 4096", "tokens: 4096\n    decay: 0.99", 10,
         "warmup 0.05 and decay 0.99 are more than the whole stage"),
    ],
)  # fmt: skip
def test_a_bad_value(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    found = _message(tmp_path, WHOLE.replace(old, new))
    assert found.startswith(f"r.yaml:{line}: ")
    assert said in found


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = WHOLE.replace("code: zh", "cod: zh").replace("tokens: 4096", "tokens: -1")
    assert len(_message(tmp_path, text).splitlines()) == 3


def test_overrides(tmp_path: Path) -> None:
    recipe = _load(
        tmp_path,
        WHOLE,
        "seed=3",
        "pretrain.1.tokens=1_000",
        "pretrain.0.mix={zh: 1.0}",
        "pretrain.0.lr=2e-3",
        "corpus.sources.0.paths=[a.txt, b.txt]",
        "corpus.dedup.exact=false",
        "tokenizer.size=99",
        "base=models/x=y",
    )
    assert (recipe.seed, recipe.base) == (3, "models/x=y")
    assert [stage.tokens for stage in recipe.pretrain] == [4096, 1000]
    assert (recipe.pretrain[0].mix, recipe.pretrain[0].lr) == ({"zh": 1.0}, 2e-3)
    assert recipe.corpus is not None
    assert recipe.corpus.sources[0].paths == ("a.txt", "b.txt")
    assert recipe.corpus.dedup.exact is False
    assert recipe.tokenizer is not None
    assert recipe.tokenizer.size == 99


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed", "--set seed: write it as key.key=value"),
        ("pretrain.5.tokens=1", "the recipe has no place 'pretrain.5.tokens'"),
        ("pretrain.tokens=1", "the recipe has no place 'pretrain.tokens'"),
        ("pretrain.2={}", "the recipe has no place 'pretrain.2'"),
        ("name.first=1", "the recipe has no place 'name.first'"),
        ("seed=[1", "the value is not YAML"),
        ("seed=many", "seed: Input should be a valid integer"),
        ("pretrain.0.token=1", "unknown key 'pretrain.0.token'; did you mean 'tokens'?"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, said: str) -> None:
    assert said in _message(tmp_path, WHOLE, override)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "r.yaml: not a YAML file"),
        ("- a\n- b", "r.yaml: a recipe is a mapping with at least `name:`"),
        ("", "r.yaml: a recipe is a mapping with at least `name:`"),
    ],
)
def test_not_a_recipe(tmp_path: Path, text: str, said: str) -> None:
    assert said in _message(tmp_path, text)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no\.yaml: no such recipe"):
        load_recipe(tmp_path / "no.yaml")
    with pytest.raises(BadInput, match="not a YAML file"):
        load_recipe(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(BadInput, match="not a YAML file"):
        load_recipe(tmp_path / "bytes.yaml")


def test_needs(tmp_path: Path) -> None:
    recipe = _load(tmp_path)
    needs(recipe, "corpus", "pretrain", "language")
    wanted = "recipe 'demo' has no `graft:` section, and this step needs one"
    with pytest.raises(BadInput, match=wanted):
        needs(recipe, "corpus", "graft")
    with pytest.raises(BadInput, match="no `pretrain:` section"):
        needs(_load(tmp_path, "name: x"), "pretrain")


def test_a_stage_by_itself() -> None:
    assert Pretrain(name="a", tokens=1).batch_tokens == 1024
