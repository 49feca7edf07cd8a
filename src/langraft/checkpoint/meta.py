"""Meta's own LLaMA layout: `params.json` and tensor-parallel `consolidated.*.pth`, seen as one
Hugging Face checkpoint.

The layout is that of Meta's inference code: column-parallel matrices are split by rows,
row-parallel ones by columns, the input embedding by columns (LLaMA 1 and 2) or rows (LLaMA 3),
norms repeated.
Query and key rows are interleaved pairs there and two halves in transformers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from langraft.checkpoint.files import open_pickled
from langraft.checkpoint.stream import StoredTensor
from langraft.core.errors import BadInput
from langraft.core.io import read_json

# Meta's name -> (transformers' name, dimension that shards are joined on; None: all the same)
OUTER: dict[str, tuple[str, int | None]] = {
    "tok_embeddings.weight": ("model.embed_tokens.weight", 1),
    "norm.weight": ("model.norm.weight", None),
    "output.weight": ("lm_head.weight", 0),
}
INNER: dict[str, tuple[str, int | None]] = {
    "attention.wq.weight": ("self_attn.q_proj.weight", 0),
    "attention.wk.weight": ("self_attn.k_proj.weight", 0),
    "attention.wv.weight": ("self_attn.v_proj.weight", 0),
    "attention.wo.weight": ("self_attn.o_proj.weight", 1),
    "feed_forward.w1.weight": ("mlp.gate_proj.weight", 0),
    "feed_forward.w2.weight": ("mlp.down_proj.weight", 1),
    "feed_forward.w3.weight": ("mlp.up_proj.weight", 0),
    "attention_norm.weight": ("input_layernorm.weight", None),
    "ffn_norm.weight": ("post_attention_layernorm.weight", None),
}
LAYER = re.compile(r"layers\.(\d+)\.(.+)")
IGNORED = "rope.freqs"  # computed from rope_theta
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def open_meta(
    folder: Path,
) -> tuple[dict[str, StoredTensor], tuple[Path, ...], dict[str, Any]]:
    """Open Meta's layout as transformers would name it: its tensors, files and configuration.

    Raises:
        BadInput: no `params.json`, a missing shard, an unknown tensor, or shards that do not fit
            together.
    """
    params = read_json(folder / "params.json")
    files = sorted(folder.glob("consolidated.*.pth"))
    expected = [f"consolidated.{number:02d}.pth" for number in range(len(files))]
    if [file.name for file in files] != expected:
        raise BadInput(f"{folder}: shards {[f.name for f in files]}, expected {expected}")
    shards = [open_pickled(file) for file in files]
    tensors: dict[str, StoredTensor] = {}
    for name in shards[0]:
        if name == IGNORED:
            continue
        parts = [shard[name] for shard in shards if name in shard]
        if len(parts) != len(shards):
            raise BadInput(f"{folder}: {name!r} is not in every shard; fetch the model again")
        tensor = _joined(name, parts, params, folder)
        tensors[tensor.name] = tensor
    config = _config(params, tensors, folder)
    return tensors, tuple(files), config


def _joined(
    name: str, parts: list[StoredTensor], params: dict[str, Any], folder: Path
) -> StoredTensor:
    layer = LAYER.fullmatch(name)
    entry = INNER.get(layer[2]) if layer else OUTER.get(name)
    if entry is None:
        raise BadInput(f"{folder}: {name!r} is not a tensor of Meta's LLaMA layout")
    target = f"model.layers.{layer[1]}.{entry[0]}" if layer else entry[0]
    dimension = entry[1]
    if name == "tok_embeddings.weight" and parts[0].shape[1] == params["dim"]:
        dimension = 0  # LLaMA 3 splits the vocabulary
    shape = list(parts[0].shape)
    if dimension is not None:
        shape[dimension] = sum(part.shape[dimension] for part in parts)
    heads = {"q_proj": params["n_heads"], "k_proj": _key_heads(params)}
    rotated = next((count for part, count in heads.items() if part in target), None)
    if rotated is not None and shape[0] != rotated * _head_width(params):
        raise BadInput(
            f"{folder}: {name!r} has {shape[0]} rows in all, not the {rotated} heads of "
            f"{_head_width(params)} that params.json gives; keys repeated over shards are not read"
        )

    def rows(start: int, stop: int) -> torch.Tensor:
        if dimension is None:
            return parts[0].rows(start, stop)
        if dimension == 1:
            return torch.cat([part.rows(start, stop) for part in parts], dim=1)
        if rotated is None:
            return _stacked(parts, start, stop)
        width = shape[0] // rotated
        first, last = start // width, -(-stop // width)  # rows move only inside their head
        heads = _halves(_stacked(parts, first * width, last * width), last - first)
        return heads[start - first * width : stop - first * width]

    return StoredTensor(target, parts[0].dtype, tuple(shape), rows)


def _stacked(parts: list[StoredTensor], start: int, stop: int) -> torch.Tensor:
    """Rows of the parts laid one below the other."""
    found, top = [], 0
    for part in parts:
        low, high = max(start, top), min(stop, top + part.height)
        if low < high:
            found.append(part.rows(low - top, high - top))
        top += part.height
    return torch.cat(found)


def _halves(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of interleaved pairs (Meta) -> two halves a head (transformers), shape unchanged."""
    width = matrix.shape[1]
    pairs = matrix.view(heads, matrix.shape[0] // heads // 2, 2, width)
    return pairs.transpose(1, 2).reshape(matrix.shape[0], width)


def _key_heads(params: dict[str, Any]) -> int:
    return int(params.get("n_kv_heads") or params["n_heads"])


def _head_width(params: dict[str, Any]) -> int:
    return int(params["dim"]) // int(params["n_heads"])


def _config(
    params: dict[str, Any], tensors: dict[str, StoredTensor], folder: Path
) -> dict[str, Any]:
    """`config.json` for Meta's `params.json`.

    The trained length is not in it. It follows from what sets the releases apart: LLaMA 1 (2,048)
    normalises with 1e-6, LLaMA 2 (4,096) with 1e-5, Code Llama (16,384) has rope_theta 1e6, LLaMA 3
    (8,192) 5e5; 3.1 scales that to 131,072.
    """
    try:
        rows = tensors["model.embed_tokens.weight"].height
        theta = float(params.get("rope_theta", 10_000.0))
        length = {1e6: 16_384, 5e5: 8_192}.get(theta, 2_048 if params["norm_eps"] < 5e-6 else 4_096)
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
        if params.get("use_scaled_rope"):
            rope, length = {**LLAMA3_ROPE, "rope_theta": theta}, 131_072
        three = theta == 5e5
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": rows,
            "hidden_size": params["dim"],
            "intermediate_size": tensors["model.layers.0.mlp.gate_proj.weight"].height,
            "num_hidden_layers": params["n_layers"],
            "num_attention_heads": params["n_heads"],
            "num_key_value_heads": _key_heads(params),
            "hidden_act": "silu",
            "rms_norm_eps": params["norm_eps"],
            "max_position_embeddings": length,
            "rope_parameters": rope,
            "tie_word_embeddings": "lm_head.weight" not in tensors,
            "bos_token_id": 128_000 if three else 1,
            "eos_token_id": 128_001 if three else 2,
            "dtype": str(tensors["model.embed_tokens.weight"].dtype).removeprefix("torch."),
        }
    except KeyError as error:
        raise BadInput(f"{folder}: params.json or the weights lack {error}") from error
