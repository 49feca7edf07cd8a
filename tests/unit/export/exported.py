"""Small random models of every family, saved with a real, extended tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizer_bases import make_extension
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from langraft.checkpoint.folder import TOKENIZER_FILES
from langraft.tokenizer.encoder import load_encoder

torch.set_num_threads(1)
FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def save_base(folder: Path, style: str) -> Path:
    """A random LLaMA with the extension of `style` as its tokenizer."""
    extended = make_extension(folder, style).extended
    return save_model(folder / "model", extended)


def save_model(
    folder: Path, tokenizer: Path, family: str = "llama", *, pad: int = 64, **settings: Any
) -> Path:
    """A random model whose logits are far apart, saved with `tokenizer`, rows padded to `pad`."""
    torch.manual_seed(5)
    rows = -(-(load_encoder(tokenizer).size + 1) // pad) * pad
    kind, build = FAMILIES[family]
    plain = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config = kind(
        **{"vocab_size": rows, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
        | plain
        | {"max_position_embeddings": 512, "initializer_range": 0.15, "sliding_window": None}
        | {"tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": 0}
        | settings
    )
    model = build(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.3)
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)
    return folder
