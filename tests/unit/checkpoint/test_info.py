"""What `checkpoint info` says of a folder, and each thing that it finds wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import poison, write_model, write_tokenizer
from random_llama import random_llama
from safetensors.torch import load_file, save_file

from langraft.checkpoint.arithmetic import average
from langraft.checkpoint.digest import weights_digest
from langraft.checkpoint.info import inspect_checkpoint
from langraft.checkpoint.reading import open_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", ids=64)


def _config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_sound_folder(folder: Path) -> None:
    found = inspect_checkpoint(folder)
    assert found["wrong"] == []
    model = random_llama()
    assert found["parameters"] == model.num_parameters()
    assert found["dtypes"] == {"float32": model.num_parameters()}
    assert (found["rows"], found["output_rows"], found["tokenizer_ids"]) == (64, 64, 64)
    assert found["tied"] is False
    assert found["rope"]["max_position_embeddings"] == 512
    assert found["rope"]["rope_type"] == "default"
    assert found["shapes"]["model.layers.*.mlp.up_proj.weight"] == "2 x [64, 32]"
    assert found["shapes"]["model.norm.weight"] == "[32]"
    assert found["weights"] == weights_digest(open_checkpoint(folder))
    assert inspect_checkpoint(folder, read=False)["weights"] is None


def test_where_it_came_from(folder: Path, tmp_path: Path) -> None:
    average([folder, folder], tmp_path / "mean")
    found = inspect_checkpoint(tmp_path / "mean")
    assert found["wrong"] == []
    assert found["made"]["by"] == "linear"
    _tensors(tmp_path / "mean", lambda t: t["model.norm.weight"].add_(1))
    wrong = inspect_checkpoint(tmp_path / "mean")["wrong"]
    assert wrong == [
        "langraft.json records other weights: the files were changed after they were written"
    ]


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "tokenizer too large": (lambda f: write_tokenizer(f, 65), "ids up to 64 but the model has 64"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer in the folder"),
    "vocab_size": (lambda f: _config(f, vocab_size=63), "says vocab_size 63, the matrix has 64"),
    "special id": (lambda f: _config(f, eos_token_id=[0, 64]), "says eos_token_id 64, beyond"),
    "dtype": (lambda f: _config(f, dtype="bfloat16"), "says dtype bfloat16, the weights are"),
    "tied with two": (
        lambda f: _config(f, tie_word_embeddings=True),
        "says tied, but lm_head.weight differs from model.embed_tokens.weight",
    ),
    "untied with one": (
        lambda f: _tensors(f, lambda t: t.pop("lm_head.weight")),
        "says untied, but there is no lm_head.weight",
    ),
    "missing": (
        lambda f: _tensors(f, lambda t: t.pop("model.layers.1.mlp.up_proj.weight")),
        "1 tensors are missing, such as model.layers.1.mlp.up_proj.weight",
    ),
    "extra": (
        lambda f: _tensors(f, lambda t: t.update({"model.other": torch.ones(2)})),
        "1 tensors have no place in llama, such as model.other",
    ),
    "shape": (
        lambda f: _config(f, intermediate_size=80),
        "model.layers.0.mlp.down_proj.weight has shape [32, 64], config.json makes it [32, 80]",
    ),
    "rotary buffers": (
        lambda f: _tensors(
            f, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
        ),
        "1 stored rotary_emb.inv_freq tensors",
    ),
    "NaN": (poison, "holds NaN or infinite values"),
    "zero rows": (
        lambda f: _tensors(f, lambda t: t["model.embed_tokens.weight"][60:63].zero_()),
        "3 rows of model.embed_tokens.weight that the tokenizer uses are zero",
    ),
    "repeated rows": (
        lambda f: _tensors(
            f, lambda t: t["lm_head.weight"][60:].copy_(t["lm_head.weight"][5].clone())
        ),
        "4 rows of lm_head.weight that the tokenizer uses repeat another row",
    ),
    "two sets of weights": (
        lambda f: (f / "pytorch_model.bin").write_bytes(b""),
        "pytorch_model.bin is not part of these weights",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_looks_wrong(kind: str, folder: Path) -> None:
    change, message = WRONG[kind]
    change(folder)
    wrong = inspect_checkpoint(folder)["wrong"]
    assert len(wrong) == 1 or kind in ("untied with one", "vocab_size")
    assert any(message in problem for problem in wrong), wrong


def test_an_index_with_a_wrong_size(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", ids=64, shard="20KB")
    assert inspect_checkpoint(folder)["wrong"] == []
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["metadata"]["total_size"] = 5
    path.write_text(json.dumps(index))
    assert inspect_checkpoint(folder)["wrong"][0].startswith("the index says 5 bytes of weights")


def test_padding_rows_are_not_counted_as_odd(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", ids=60)
    _tensors(folder, lambda t: t["lm_head.weight"][60:].zero_())
    assert inspect_checkpoint(folder)["wrong"] == []
