"""A Llama small enough that every gradient fits into a file, with the same weights everywhere: they
come from numpy's generator, which no release of torch changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig

VOCABULARY = 32
# Questions and answers as ids: (question, chosen, rejected).
PAIRS = (
    ([3, 5, 7], [9, 11, 13, 1], [4, 6, 1]),
    ([8, 2], [10, 12, 1], [14, 16, 18, 20, 1]),
    ([21, 22, 23, 24], [25, 1], [26, 27, 1]),
)


def tiny_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )


def fill(model: torch.nn.Module, seed: int) -> Any:
    """Every weight, in the order of the names, drawn anew."""
    generator = np.random.Generator(np.random.PCG64(seed))
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            drawn = 0.5 * generator.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.as_tensor(drawn + (parameter.ndim == 1), dtype=torch.float32))
    return model


def gradients(model: torch.nn.Module) -> dict[str, list[float]]:
    """Every gradient, flat, by name."""
    return {
        name: parameter.grad.flatten().double().tolist()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def golden(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "tests/golden/trl_losses.json").read_text()))
