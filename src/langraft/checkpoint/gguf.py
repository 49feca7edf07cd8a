"""GGUF in: a quantised LLaMA-family file becomes a float32 Hugging Face folder."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from langraft.checkpoint.folder import quiet, save_model
from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json

# GGUF names a byte-level BPE's pre-tokenizer instead of spelling it out, and transformers falls
# back to plain ByteLevel.
PRE_TOKENIZERS: dict[str, list[dict[str, Any]]] = {
    "smollm": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}


def convert_gguf(path: Path, out: Path) -> None:
    """Write the model in `path` to the empty folder `out` (float32 weights, tokenizer, chat
    template).

    Raises:
        BadInput: not a GGUF file, or of a kind transformers cannot read.
    """
    try:
        fields = GGUFReader(path).fields
        # transformers draws a bar of its own here that no setting turns off
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            loaded = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32
            )
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, OSError, KeyError) as error:
        raise BadInput(f"{path}: cannot be read as a GGUF model ({error})") from error
    # transformers marks the loaded model as quantised and then refuses to save it; a fresh one of
    # the same shape saves.
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    fresh = type(loaded)(loaded.config)
    fresh.load_state_dict(loaded.state_dict())
    tokenizer.save_pretrained(out)
    _name_pre_tokenizer(out / "tokenizer.json", fields)
    save_model(fresh, out)


def _name_pre_tokenizer(path: Path, fields: Any) -> None:
    field = fields.get("tokenizer.ggml.pre")
    steps = PRE_TOKENIZERS.get(field.contents()) if field is not None else None
    if steps is not None:
        content = read_json(path)
        content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
        write_json(path, json.loads(json.dumps(content)))
