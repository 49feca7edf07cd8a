"""GGUF files of every type that transformers reads: the weights are gguf's own dequantised ones."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from checkpoints import state_of
from random_llama import random_llama, weights

from langraft.checkpoint.gguf import convert_gguf

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


def _gguf_name(name: str) -> str:
    module = name.removesuffix(".weight")
    if module in NAMES:
        return f"{NAMES[module]}.weight"
    layer, kind = module.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[kind]}.weight"


def _pairs(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Two halves a head (transformers) -> interleaved pairs (llama.cpp)."""
    halves = matrix.reshape(heads, 2, matrix.shape[0] // heads // 2, matrix.shape[1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def _write(path: Path, kind: gguf.GGMLQuantizationType) -> dict[str, torch.Tensor]:
    """Write a random Llama; return the weights that a reader should find."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(64)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*(chr(33 + number) for number in range(63)), '!"'])
    writer.add_token_types([gguf.TokenType.NORMAL] * 64)
    writer.add_token_merges(['! "'])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    found = {}
    for name, tensor in weights(random_llama()).items():
        values = tensor.numpy()
        heads = 4 if "q_proj" in name else 2 if "k_proj" in name else 0
        paired = _pairs(values, heads) if heads else values
        used = kind if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        packed = gguf.quantize(np.ascontiguousarray(paired), used)
        writer.add_tensor(_gguf_name(name), packed, raw_dtype=used)
        # blocks of 32 run along a row, so turning rows changes no value
        plain = gguf.dequantize(gguf.quantize(values, used), used)
        found[name] = torch.from_numpy(plain.reshape(values.shape).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


@pytest.mark.parametrize("name", TYPES)
def test_each_type(name: str, tmp_path: Path) -> None:
    wanted = _write(tmp_path / "m.gguf", gguf.GGMLQuantizationType[name])
    (tmp_path / "out").mkdir()
    convert_gguf(tmp_path / "m.gguf", tmp_path / "out")
    found = state_of(tmp_path / "out")
    assert set(found) == set(wanted)
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor), key
