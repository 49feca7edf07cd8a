"""Any readable checkpoint to an ordinary safetensors folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langraft.checkpoint.digest import Records
from langraft.checkpoint.layout import (
    companion_files,
    embedding_names,
    require_tokenizer_fits,
    tokenizer_ids,
)
from langraft.checkpoint.reading import open_checkpoint
from langraft.checkpoint.writing import SHARD_BYTES, require_new, write_checkpoint
from langraft.core.io import write_json

# Buffers of old files that transformers computes by itself.
COMPUTED = ("rotary_emb.inv_freq", ".attn.masked_bias", ".attn.bias")


def convert(
    folder: Path, out: Path, *, tokenizer: Path | None = None, shard_bytes: int = SHARD_BYTES
) -> dict[str, Any]:
    """Write the weights in `folder` (safetensors, `.bin`, or Meta's layout) to `out`.

    Args:
        tokenizer: a folder that holds the tokenizer; else `folder`, else the folder above it (where
            Meta puts `tokenizer.model`).

    Raises:
        BadInput: see `open_checkpoint`; a tokenizer with more ids than rows; an existing `out`.
    """
    require_new(out)
    checkpoint = open_checkpoint(folder)
    places = [tokenizer] if tokenizer else [folder, folder.parent]
    source = next((place for place in places if tokenizer_ids(place) is not None), folder)
    names = embedding_names(checkpoint.tensors, folder)
    require_tokenizer_fits(source, checkpoint.tensors[names[0]].height, folder)
    kept = [t for n, t in checkpoint.tensors.items() if not n.endswith(COMPUTED)]
    return write_checkpoint(
        out,
        kept,
        config=checkpoint.config,
        files=companion_files(folder, source),
        made={"by": "convert", "source": str(folder)},
        shard_bytes=shard_bytes,
        finish=_name_tokenizer,
    )


def _name_tokenizer(folder: Path, _: Records) -> None:
    """Meta ships a bare `tokenizer.model`; transformers wants to be told its class."""
    if (folder / "tokenizer.model").exists() and not (folder / "tokenizer_config.json").exists():
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
