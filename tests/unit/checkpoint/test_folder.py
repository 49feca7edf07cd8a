"""Model folders: what is refused, and what is copied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from random_llama import random_llama, weights
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from langraft.checkpoint.folder import (
    copy_tokenizer,
    load_model,
    load_tokenizer,
    model_digest,
    read_config,
    save_model,
    tokenizer_rows,
)
from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import folder_hashes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(random_llama(), tmp_path / "model", note={"made": "here"})
    return tmp_path / "model"


def _write_tokenizer(folder: Path, ids: int, added: list[str]) -> None:
    inner = Tokenizer(models.BPE(vocab={f"p{n}": n for n in range(ids)}, merges=[]))
    inner.add_special_tokens(added)
    inner.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "p1"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_round_trip(folder: Path) -> None:
    loaded = load_model(folder)
    assert not loaded.training
    assert all(torch.equal(weights(loaded)[n], v) for n, v in weights(random_llama()).items())
    assert json.loads((folder / "langraft.json").read_text()) == {"made": "here"}
    assert read_config(folder).vocab_size == 64
    assert load_model(folder, torch.bfloat16).dtype == torch.bfloat16


def test_no_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(BadInput, match=r"model: no config\.json, so this is not a model folder"):
        load_model(folder)


def test_pickled_weights_are_not_loaded(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="pickled weights are never loaded"):
        load_model(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(BadInput, match="model: the model cannot be loaded"):
        load_model(folder)


def test_a_missing_tensor(folder: Path) -> None:
    """transformers would fill the hole with random numbers."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(folder)


def test_a_tied_model_without_an_output_matrix_is_whole(tmp_path: Path) -> None:
    save_model(random_llama(tied=True), tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_weights_of_another_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 65}))
    with pytest.raises(BadInput, match="model: the model cannot be loaded"):
        load_model(folder)


def test_a_tokenizer_with_more_ids_than_rows(folder: Path) -> None:
    _write_tokenizer(folder, 63, ["<s>"])
    assert tokenizer_rows(folder) == 64
    load_model(folder)
    _write_tokenizer(folder, 63, ["<s>", "</s>"])
    assert tokenizer_rows(folder) == 65
    with pytest.raises(BadInput, match="uses ids up to 64 but the model has 64 rows"):
        load_model(folder)


def test_tokenizer(folder: Path) -> None:
    with pytest.raises(BadInput, match="model: no tokenizer can be loaded"):
        load_tokenizer(folder)
    _write_tokenizer(folder, 10, ["<s>"])
    assert load_tokenizer(folder).eos_token_id == 1


def test_tokenizer_files_are_copied_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    _write_tokenizer(folder, 10, ["<s>"])
    (folder / "chat_template.jinja").write_bytes(b"{{ messages }}\r\n\xe4\xb8\xad")
    (folder / "notes.txt").write_text("not the tokenizer's")
    out = tmp_path / "copy"
    out.mkdir()
    copy_tokenizer(folder, out)
    names = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert folder_hashes(out) == {n: h for n, h in folder_hashes(folder).items() if n in names}
    assert set(folder_hashes(out)) == names


def test_the_digest_is_of_the_model_alone(folder: Path) -> None:
    before = model_digest(folder)
    (folder / "README.md").write_text("words")
    assert model_digest(folder) == before
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    assert model_digest(folder) != before


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFailed, match="cannot write"):
        save_model(random_llama(), tmp_path / "file" / "model")
