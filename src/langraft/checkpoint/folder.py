"""A model folder: loaded with its tokenizer checked, and written as safetensors."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from langraft.core.errors import BadInput
from langraft.core.io import disk_errors, folder_hashes, read_json, sha256_json, write_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)
MODEL_FILES = (*TOKENIZER_FILES, "config.json", "generation_config.json", "langraft.json")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' own progress bars and remarks: ours tell what matters."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The causal language model in `folder`, on the CPU, in training-free mode.

    Raises:
        BadInput: not a model folder, damaged weights, or a tokenizer with more ids than the model
            has rows.
    """
    if not (folder / "config.json").exists():
        raise BadInput(f"{folder}: no config.json, so this is not a model folder")
    if not any(folder.glob("*.safetensors")):
        raise BadInput(
            f"{folder}: no .safetensors weights; pickled weights are never loaded, make "
            "safetensors of them first: `langraft checkpoint convert`"
        )
    try:
        with quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, ValueError, OSError, KeyError, RuntimeError) as error:
        raise BadInput(f"{folder}: the model cannot be loaded ({error})") from error
    if report["missing_keys"]:  # transformers would leave them random
        raise BadInput(
            f"{folder}: the weights lack {sorted(report['missing_keys'])[0]!r} "
            f"({len(report['missing_keys'])} missing in all); fetch the model again"
        )
    model.eval()
    rows = model.get_input_embeddings().weight.shape[0]
    if (folder / "tokenizer.json").exists():
        ids = tokenizer_rows(folder)
        if ids > rows:
            raise BadInput(
                f"{folder}: its tokenizer uses ids up to {ids - 1} but the model has {rows} rows; "
                "the tokenizer does not belong to this model"
            )
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, as transformers loads it.

    Raises:
        BadInput: there is none.
    """
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
    except (ValueError, OSError, KeyError) as error:
        raise BadInput(f"{folder}: no tokenizer can be loaded ({error})") from error


def tokenizer_rows(folder: Path) -> int:
    """One more than the highest id in a folder's `tokenizer.json`."""
    content = read_json(folder / "tokenizer.json")
    vocabulary = content["model"]["vocab"]
    ids = [token["id"] for token in content.get("added_tokens", [])]
    ids += vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    return max(ids) + 1


def save_model(model: PreTrainedModel, out: Path, note: dict[str, Any] | None = None) -> None:
    """Write weights and configuration to `out`; `note` goes into `langraft.json` beside them."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        try:
            with quiet():
                model.save_pretrained(out)
        except SafetensorError as error:  # safetensors wraps the operating system's own error
            raise OSError(28, str(error)) from error
    if note is not None:
        write_json(out / "langraft.json", note)


def copy_tokenizer(source: Path, out: Path) -> None:
    """Copy every tokenizer file of the folder `source` to `out`, byte for byte."""
    with disk_errors(out):
        for name in TOKENIZER_FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, out / name)


def model_digest(folder: Path) -> str:
    """One sha256 over the files that make the model in `folder` what it is."""
    hashes = folder_hashes(folder)
    return sha256_json(
        {n: h for n, h in hashes.items() if n in MODEL_FILES or n.endswith(".safetensors")}
    )


def read_config(folder: Path) -> Any:
    """The transformers configuration in `folder`."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
