"""A peft LoRA adapter, written: what peft loads and `read_adapter` merges, tied to its base by the
digest of the base's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from langraft.checkpoint.adapter import NOTE, PREFIX, WEIGHTS, stamp_adapter
from langraft.checkpoint.digest import weights_digest
from langraft.checkpoint.layout import open_model
from langraft.core.io import disk_errors, write_json

ADAPTER = ".default"  # the adapter's name inside peft, which its files do not carry
ROW_MODULES = ("embed_tokens", "lm_head")


def write_adapter(
    out: Path, learnt: Mapping[str, Tensor], settings: Mapping[str, Any], base: Path, *, tied: bool
) -> None:
    """Write an adapter folder: `adapter_config.json`, `adapter_model.safetensors`, and the base's
    digest in `langraft.json`.

    Args:
        learnt: what was trained by the model's own names, low-rank parts as
            `LAYER.lora_A.default.weight` (rank, in) and `lora_B` (out, rank); other tensors are
            whole matrices that learnt beside them.
        settings: `r`, `lora_alpha`, `lora_dropout`, `target_modules`, `use_rslora`.
        base: the model folder that it was trained on.
        tied: the model's input and output matrix are one.
    """
    low = {n: t for n, t in learnt.items() if ".lora_" in n}
    whole = {n.replace(".base_layer.", "."): t for n, t in learnt.items() if n not in low}
    tensors = {PREFIX + n.replace(ADAPTER, ""): t for n, t in low.items()}
    tensors |= {PREFIX + name: tensor for name, tensor in whole.items()}
    saved = sorted({name.split(".")[-2] for name in whole} & set(ROW_MODULES))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "inference_mode": True,
        "bias": "none",
        "fan_in_fan_out": False,
        **settings,
        "modules_to_save": saved or None,
        "ensure_weight_tying": bool(saved) and tied,
    }
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        try:
            save_file({n: t.contiguous() for n, t in tensors.items()}, out / WEIGHTS[0])
        except SafetensorError as error:  # wraps the operating system's own error
            raise OSError(28, str(error)) from error
        write_json(out / "adapter_config.json", config)
    stamp_adapter(out, weights_digest(open_model(base)))
    assert (out / NOTE).exists()
