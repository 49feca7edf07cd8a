"""8 and 4 bits for transformers and vLLM: saved, loaded again, scored, and only then done."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from langraft.checkpoint.folder import copy_tokenizer, load_model, load_tokenizer, quiet
from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import PARTIAL, disk_errors, remove, replace_folder, write_atomic, write_json
from langraft.core.messages import say
from langraft.data.frame import document_frame
from langraft.evals.bits import bits_per_byte, excerpts
from langraft.tokenizer.encoder import load_encoder

SCORED_BYTES, WINDOW = 20_000, 512
RELOADED, WORSE = 0.001, 0.05  # relative: after loading again; against the unquantised model
VLLM_SCRIPT = '''"""Quantise the weights to 4 bits (compressed-tensors, for vLLM)."""

from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier

oneshot(
    model={model!r},
    recipe=QuantizationModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"]),
    output_dir={out!r},
)
'''


def quantize(model: Path, scheme: str, texts: Sequence[str], out: Path) -> dict[str, Any]:
    """Write the folder `model` in 8 or 4 bits to `out`.

    Args:
        scheme: "int8" (torchao, weights only, done here) or "w4a16" (llm-compressor, whose
            environment cannot be ours: a script and the commands are written).
        texts: real text that the result is scored on.

    Returns:
        int8: scheme, megabytes and bits per byte before, after, and after loading again.
        w4a16: scheme and the commands.

    Raises:
        BadInput: an unknown scheme, no text, or torchao is not installed.
        RunFailed: the saved model is not what was quantised, or is much worse; nothing is left.
    """
    if scheme not in SCHEMES:
        raise BadInput(f"--scheme {scheme}: known are {', '.join(SCHEMES)}")
    if not any(text.strip() for text in texts):
        raise BadInput("--text: the result is scored on real text, and there is none in it")
    return SCHEMES[scheme](model, texts, out)


def _int8(model: Path, texts: Sequence[str], out: Path) -> dict[str, Any]:
    if importlib.util.find_spec("torchao") is None:
        raise BadInput("--scheme int8 needs torchao: pip install 'langraft[quantize]'")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    before = _score(load_model(model, torch.bfloat16), model, texts)
    partial = out.with_name(out.name + PARTIAL)
    remove(partial)
    partial.mkdir(parents=True)
    try:
        with quiet(), disk_errors(out):
            quantised = AutoModelForCausalLM.from_pretrained(
                model,
                dtype=torch.bfloat16,
                quantization_config=TorchAoConfig(Int8WeightOnlyConfig()),
                use_safetensors=True,
                local_files_only=True,
            ).eval()
            after = _score(quantised, model, texts)
            quantised.save_pretrained(partial)
            copy_tokenizer(model, partial)
            loaded = AutoModelForCausalLM.from_pretrained(
                partial, dtype=torch.bfloat16, use_safetensors=True, local_files_only=True
            ).eval()
        again = _score(loaded, partial, texts)
        if abs(again - after) > RELOADED * after:
            raise RunFailed(f"{out}: {after:.4f} bits per byte became {again:.4f} on loading again")
        if after > before * (1 + WORSE):
            raise RunFailed(f"{out}: {before:.4f} bits per byte became {after:.4f} in 8 bits")
        found = {
            "scheme": "int8",
            "bits_per_byte": {"bf16": before, "int8": after, "reloaded": again},
            "megabytes": {"before": _megabytes(model), "int8": _megabytes(partial)},
        }
        write_json(partial / "langraft.json", found)
        replace_folder(partial, out)
    finally:
        remove(partial)
    say(f"{out}: {before:.4f} bits per byte in bf16, {after:.4f} in int8, {again:.4f} reloaded")
    return found


def _score(model: Any, folder: Path, texts: Sequence[str]) -> float:
    frame = document_frame(load_tokenizer(folder))
    score = bits_per_byte(
        model,
        load_encoder(folder).encode_batch,
        excerpts(list(texts), SCORED_BYTES),
        start=frame.start,
        window=WINDOW,
        autocast=False,
    )
    return float(score.per_byte)


def _megabytes(folder: Path) -> float:
    return round(sum(p.stat().st_size for p in folder.glob("*.safetensors")) / 1e6, 1)


def _w4a16(model: Path, texts: Sequence[str], out: Path) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    target = (out / "model").resolve()
    script = VLLM_SCRIPT.format(model=str(model.resolve()), out=str(target))
    write_atomic(out / "quantize_w4a16.py", script)
    place = shlex.quote(str(out))
    commands = [
        f"python3 -m venv {place}/compress",
        f"{place}/compress/bin/pip install llmcompressor==0.14.0.1",
        f"{place}/compress/bin/python {place}/quantize_w4a16.py",
        f"python3 -m venv {place}/vllm",
        f"{place}/vllm/bin/pip install vllm==0.33.0",
        f"{place}/vllm/bin/vllm serve {shlex.quote(str(target))}",
    ]
    say("llm-compressor and vLLM pin other versions than ours; each has an environment of its own:")
    for command in commands:
        say(f"  {command}")
    return {"scheme": "w4a16", "commands": commands}


SCHEMES = {"int8": _int8, "w4a16": _w4a16}
