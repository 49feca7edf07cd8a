"""Random trained peft adapters on tiny random models."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


def trained_adapter(
    model: PreTrainedModel, out: Path, *, rows: int | None = None, seed: int = 1, **settings: Any
) -> PeftModel:
    """Give a copy of `model` an adapter, move every trained weight, and save it to `out`.

    Args:
        rows: grow the vocabulary first, as trainers of extended models do.
        settings: of peft's LoraConfig.
    """
    model = copy.deepcopy(model)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft remarks on tied weights and saved embeddings
        if rows is not None:
            model.resize_token_embeddings(rows, mean_resizing=False)
        tuned = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, **settings}))
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn_like(parameter)
        tuned.save_pretrained(out)
    return tuned.eval()


def logits(model: torch.nn.Module, ids: int = 64) -> torch.Tensor:
    """What a model says to the first `ids` tokens."""
    with torch.no_grad():
        return model(input_ids=torch.arange(ids)[None]).logits[0]


def peft_merged(tuned: PeftModel) -> dict[str, torch.Tensor]:
    """Peft's own merge, as a state dict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(copy.deepcopy(tuned).merge_and_unload().state_dict())
