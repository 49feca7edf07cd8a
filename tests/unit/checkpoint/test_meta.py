"""Meta's own layout: shards joined, queries and keys turned, the model the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from random_adapter import logits
from random_llama import random_llama, weights
from tokenizer_bases import sentencepiece_base
from transformers import AutoTokenizer, LlamaForCausalLM

from langraft.checkpoint.convert import convert
from langraft.checkpoint.folder import load_model
from langraft.checkpoint.reading import open_checkpoint
from langraft.core.errors import BadInput

HEADS, KEY_HEADS, WIDTH = 4, 2, 8
NAMES = {
    "self_attn.q_proj": ("attention.wq", 0),
    "self_attn.k_proj": ("attention.wk", 0),
    "self_attn.v_proj": ("attention.wv", 0),
    "self_attn.o_proj": ("attention.wo", 1),
    "mlp.gate_proj": ("feed_forward.w1", 0),
    "mlp.down_proj": ("feed_forward.w2", 1),
    "mlp.up_proj": ("feed_forward.w3", 0),
    "input_layernorm": ("attention_norm", None),
    "post_attention_layernorm": ("ffn_norm", None),
}


def _pairs(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    """Two halves a head -> interleaved pairs, row by row as the definition says."""
    out = torch.empty_like(matrix)
    half = WIDTH // 2
    for head in range(heads):
        for row in range(WIDTH):
            source = head * WIDTH + row // 2 + (row % 2) * half
            out[head * WIDTH + row] = matrix[source]
    return out


def _meta_state(model: LlamaForCausalLM, embedding: int) -> dict[str, tuple[torch.Tensor, Any]]:
    """Meta's name -> (whole tensor, dimension it is split on)."""
    found: dict[str, tuple[torch.Tensor, Any]] = {}
    outer = {
        "model.embed_tokens": ("tok_embeddings", embedding),
        "model.norm": ("norm", None),
        "lm_head": ("output", 0),
    }
    for name, tensor in weights(model).items():
        module = name.removesuffix(".weight")
        if module in outer:
            new, split = outer[module]
        else:
            layer, kind = module.removeprefix("model.layers.").split(".", 1)
            new, split = NAMES[kind]
            new = f"layers.{layer}.{new}"
        if "q_proj" in module or "k_proj" in module:
            tensor = _pairs(tensor, HEADS if "q_proj" in module else KEY_HEADS)
        found[f"{new}.weight"] = (tensor, split)
    return found


def _write(folder: Path, model: LlamaForCausalLM, shards: int, embedding: int = 1) -> Path:
    folder.mkdir()
    params = {"dim": 32, "n_layers": 2, "n_heads": HEADS, "n_kv_heads": KEY_HEADS, "vocab_size": -1}
    (folder / "params.json").write_text(json.dumps({**params, "norm_eps": 1e-6}))
    for number in range(shards):
        state = {"rope.freqs": torch.ones(4)}
        for name, (tensor, split) in _meta_state(model, embedding).items():
            part = tensor if split is None else tensor.chunk(shards, dim=split)[number]
            state[name] = part.clone()
        torch.save(state, folder / f"consolidated.{number:02d}.pth")
    return folder


@pytest.mark.parametrize(("shards", "embedding"), [(1, 1), (2, 1), (2, 0)])
def test_the_model_is_the_same(shards: int, embedding: int, tmp_path: Path) -> None:
    model = random_llama()
    folder = _write(tmp_path / "meta", model, shards, embedding)
    convert(folder, tmp_path / "out")
    found = load_model(tmp_path / "out")
    wanted = weights(model)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights(found).items())
    assert torch.equal(logits(found), logits(model))
    assert found.config.max_position_embeddings == 2_048
    assert found.config.rms_norm_eps == 1e-6


@pytest.mark.parametrize(
    ("changes", "length", "kind"),
    [
        ({"norm_eps": 1e-5}, 4_096, "default"),
        ({"norm_eps": 1e-5, "rope_theta": 1e6}, 16_384, "default"),
        ({"norm_eps": 1e-5, "rope_theta": 5e5}, 8_192, "default"),
        ({"norm_eps": 1e-5, "rope_theta": 5e5, "use_scaled_rope": True}, 131_072, "llama3"),
    ],
)
def test_the_release_decides_the_length(
    changes: dict[str, Any], length: int, kind: str, tmp_path: Path
) -> None:
    folder = _write(tmp_path / "meta", random_llama(), 1)
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps(params | changes))
    convert(folder, tmp_path / "out")
    config = load_model(tmp_path / "out").config
    assert config.max_position_embeddings == length
    assert config.rope_parameters["rope_type"] == kind
    assert config.rope_parameters["rope_theta"] == changes.get("rope_theta", 10_000.0)


def test_its_tokenizer_lies_one_folder_above(tmp_path: Path) -> None:
    sentencepiece_base(tmp_path)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    folder = _write(tmp_path / "meta", random_llama(vocab=2_500), 2)
    convert(folder, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "The water flows."
    assert tokenizer(text, add_special_tokens=False).input_ids == processor.encode(text)


def test_a_tokenizer_too_large(tmp_path: Path) -> None:
    sentencepiece_base(tmp_path)
    folder = _write(tmp_path / "meta", random_llama(vocab=2_496), 2)
    with pytest.raises(BadInput, match=r"uses ids up to 2499 but .*meta has 2496 rows"):
        convert(folder, tmp_path / "out")


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    folder = _write(tmp_path / "meta", random_llama(), 2)
    (folder / "consolidated.00.pth").rename(folder / "consolidated.02.pth")
    with pytest.raises(BadInput, match=r"shards .*01\.pth.*, expected"):
        open_checkpoint(folder)
    (folder / "consolidated.02.pth").rename(folder / "consolidated.00.pth")
    state = torch.load(folder / "consolidated.01.pth", weights_only=True)
    del state["output.weight"]
    torch.save(state, folder / "consolidated.01.pth")
    with pytest.raises(BadInput, match=r"'output\.weight' is not in every shard"):
        open_checkpoint(folder)
    (folder / "params.json").unlink()
    with pytest.raises(BadInput, match=r"params\.json: no such file"):
        open_checkpoint(folder)


def test_unknown_tensors_and_missing_settings(tmp_path: Path) -> None:
    folder = _write(tmp_path / "meta", random_llama(), 1)
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps(params | {"n_kv_heads": 4}))
    with pytest.raises(BadInput, match="has 16 rows in all, not the 4 heads of 8"):
        open_checkpoint(folder)
    del params["norm_eps"]
    (folder / "params.json").write_text(json.dumps(params))
    with pytest.raises(BadInput, match=r"params\.json or the weights lack 'norm_eps'"):
        open_checkpoint(folder)
    state = torch.load(folder / "consolidated.00.pth", weights_only=True)
    torch.save(state | {"layers.0.gate.weight": torch.ones(2)}, folder / "consolidated.00.pth")
    with pytest.raises(BadInput, match="is not a tensor of Meta's LLaMA layout"):
        open_checkpoint(folder)
