"""Rotary settings of a configuration as GGUF keys, or as the tensor that llama.cpp wants instead.

Formulas: linear and NTK as in transformers' `modeling_rope_utils`; YaRN arXiv 2309.00071.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gguf import GGUFWriter, RopeScalingType

from langraft.core.errors import BadInput


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary settings, in the form of transformers 5, whichever version wrote them."""
    old = config.get("rope_scaling") or {}
    new = config.get("rope_parameters") or {}
    merged = {"rope_theta": config.get("rope_theta", 10_000.0)} | old | new
    merged["rope_type"] = merged.get("rope_type") or merged.get("type") or "default"
    return merged


def head_size(config: dict[str, Any]) -> int:
    """Components of one attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def freeze_dynamic(config: dict[str, Any], length: int | None) -> dict[str, Any]:
    """Dynamic NTK as it is at `length` tokens: a larger base; other kinds unchanged.

    Raises:
        BadInput: the scaling is dynamic and no length was given: no other program can follow it.
    """
    rope = rope_of(config)
    if rope["rope_type"] != "dynamic":
        return rope
    if length is None:
        raise BadInput(
            "the model's rope scaling is `dynamic`, which llama.cpp and vLLM cannot represent; "
            "name the length to freeze it at, for example --context 8192"
        )
    size, trained = head_size(config), int(config["max_position_embeddings"])
    factor = float(rope["factor"])
    growth = max(1.0, factor * length / trained - (factor - 1))
    theta = float(rope["rope_theta"]) * growth ** (size / (size - 2))
    return {"rope_type": "default", "rope_theta": theta}


def write_rope(writer: GGUFWriter, rope: dict[str, Any], config: dict[str, Any]) -> None:
    """Add the keys.

    Raises:
        BadInput: a kind that GGUF cannot carry.
    """
    kind = rope["rope_type"]
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_rope_dimension_count(head_size(config))
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif kind == "yarn":
        _write_yarn(writer, rope, config)
    elif kind not in ("default", "llama3"):
        raise BadInput(f"rope_type {kind!r}: known are default, linear, llama3, yarn and dynamic")


def _write_yarn(writer: GGUFWriter, rope: dict[str, Any], config: dict[str, Any]) -> None:
    if rope.get("mscale") or rope.get("mscale_all_dim"):
        raise BadInput("rope `mscale`: DeepSeek's variant of YaRN is not carried over")
    factor = float(rope["factor"])
    original = rope.get("original_max_position_embeddings") or config["max_position_embeddings"]
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(factor)
    writer.add_rope_scaling_orig_ctx_len(int(original))
    writer.add_rope_scaling_yarn_beta_fast(float(rope.get("beta_fast") or 32))
    writer.add_rope_scaling_yarn_beta_slow(float(rope.get("beta_slow") or 1))
    attention = rope.get("attention_factor")
    if attention is not None:
        # transformers puts `attention_factor` in place of YaRN's own 0.1 ln(factor) + 1;
        # llama.cpp multiplies its key `attn_factor` with it.
        own = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
        writer.add_rope_scaling_attn_factors(float(attention) / own)


def llama3_factors(rope: dict[str, Any], size: int) -> np.ndarray | None:
    """By what each frequency is divided, float32 of shape (size / 2,); None for other kinds."""
    if rope["rope_type"] != "llama3":
        return None
    factor, low, high = (float(rope[k]) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    length = float(rope["original_max_position_embeddings"])
    base = float(rope["rope_theta"])
    waves = 2 * np.pi * base ** (np.arange(0, size, 2, dtype=np.float64) / size)
    smooth = np.clip((length / waves - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1 - smooth) / factor + smooth)).astype(np.float32)
