"""Model folders for the tests of checkpoints: tuned copies, tokenizers, and ways to damage them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from random_llama import random_llama
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import LlamaForCausalLM

from langraft.checkpoint.folder import save_model


def write_tokenizer(folder: Path, ids: int) -> None:
    """A tokenizer whose highest id is `ids` - 1."""
    inner = Tokenizer(models.BPE(vocab={f"p{n}": n for n in range(ids)}, merges=[]))
    inner.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "p1"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_model(
    folder: Path, model: LlamaForCausalLM | None = None, *, ids: int = 60, shard: str = "50GB"
) -> Path:
    """A model folder with a tokenizer, sharded when `shard` is small."""
    model = model or random_llama()
    if shard == "50GB":
        save_model(model, folder)
    else:
        model.save_pretrained(folder, max_shard_size=shard)
    write_tokenizer(folder, ids)
    return folder


def tuned(model: LlamaForCausalLM, *, rows: int = 64, seed: int = 5) -> LlamaForCausalLM:
    """A model close to `model`, with `rows` rows."""
    torch.manual_seed(seed)
    config = {"vocab": rows, "tied": bool(model.config.tie_word_embeddings)}
    other = random_llama(**config, seed=seed).to(model.dtype)
    state, old = other.state_dict(), model.state_dict()
    for name, value in state.items():
        common = min(len(value), len(old[name]))
        value[:common] = old[name][:common] + 0.03 * torch.randn_like(value[:common])
    return other


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors folder."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def truncate(folder: Path) -> None:
    path = min(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-64])


def drop_shard(folder: Path) -> None:
    min(folder.glob("*.safetensors")).unlink()


def lie(folder: Path) -> None:
    """The index sends one tensor to another shard."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    places = index["weight_map"]
    name = min(places)
    places[name] = next(place for place in sorted(places.values()) if place != places[name])
    path.write_text(json.dumps(index))


def leave_out(folder: Path) -> None:
    """The index does not list a tensor that a shard holds."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["model.norm.weight"]
    path.write_text(json.dumps(index))


def escape(folder: Path) -> None:
    """The index names a file outside the folder."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = "../model.safetensors"
    path.write_text(json.dumps(index))


def poison(folder: Path) -> None:
    """One weight is not a number."""
    path = max(folder.glob("*.safetensors"))
    tensors = load_file(path)
    max(tensors.items())[1].view(-1)[-1] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})


def enlarge_tokenizer(folder: Path) -> None:
    write_tokenizer(folder, 65)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "truncated: its header promises"),
    "missing shard": (drop_shard, "is missing from the folder"),
    "index that lies": (lie, "index and shards belong to different models"),
    "index that leaves out": (leave_out, "does not list 'model.norm.weight'"),
    "index that escapes": (escape, r"shard '\.\./model\.safetensors' is missing"),
    "NaN": (poison, "holds NaN or infinite values"),
    "tokenizer larger than rows": (enlarge_tokenizer, "uses ids up to 64 but .* 64 rows"),
}
