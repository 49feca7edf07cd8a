"""What a model folder promises besides weights: embedding names, tying, ids of its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from langraft.checkpoint.folder import TOKENIZER_FILES, tokenizer_rows
from langraft.checkpoint.reading import Checkpoint, open_checkpoint
from langraft.checkpoint.stream import StoredTensor
from langraft.core.errors import BadInput
from langraft.core.io import read_json

# (input matrix, output matrix) of the architectures that transformers loads as causal models
EMBEDDINGS = (
    ("model.embed_tokens.weight", "lm_head.weight"),
    ("transformer.wte.weight", "lm_head.weight"),
    ("gpt_neox.embed_in.weight", "embed_out.weight"),
)
VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def open_model(folder: Path) -> Checkpoint:
    """Open a model folder whose own tokenizer, if it has one, fits its rows.

    Raises:
        BadInput: see `open_checkpoint`; or the tokenizer gives ids beyond the rows.
    """
    checkpoint = open_checkpoint(folder)
    rows = checkpoint.tensors[embedding_names(checkpoint.tensors, folder)[0]].height
    require_tokenizer_fits(folder, rows, folder)
    return checkpoint


def embedding_names(tensors: Mapping[str, StoredTensor], folder: Path) -> tuple[str, str]:
    """The names of the input and the output matrix; a tied model may lack the second.

    Raises:
        BadInput: no known input matrix.
    """
    for names in EMBEDDINGS:
        if names[0] in tensors:
            return names
    raise BadInput(
        f"{folder}: no input embedding (looked for {', '.join(names[0] for names in EMBEDDINGS)})"
    )


def is_tied(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], output: str) -> bool:
    """Whether input and output matrix are one; without a word in the configuration, the presence of
    an output matrix decides.
    """
    return bool(config.get("tie_word_embeddings", output not in tensors))


def tokenizer_ids(folder: Path) -> int | None:
    """One more than the highest id of the tokenizer in `folder`; None when it holds none.

    Raises:
        BadInput: its files are damaged.
    """
    if (folder / "tokenizer.json").exists():
        return tokenizer_rows(folder)
    if (folder / "tokenizer.model").exists():
        ids = _sentencepiece_ids(folder / "tokenizer.model")
    elif (folder / "vocab.json").exists():
        ids = max(read_json(folder / "vocab.json").values()) + 1
    else:
        return None
    added = folder / "added_tokens.json"
    return (
        max([ids, *(index + 1 for index in read_json(added).values())]) if added.exists() else ids
    )


def _sentencepiece_ids(path: Path) -> int:
    try:
        return int(sentencepiece.SentencePieceProcessor(model_file=str(path)).vocab_size())
    except (RuntimeError, OSError) as error:
        raise BadInput(f"{path}: not a SentencePiece model ({error})") from error


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """The tokenizer's files in `folder` by name."""
    return {name: folder / name for name in TOKENIZER_FILES if (folder / name).exists()}


def companion_files(folder: Path, tokenizer: Path) -> dict[str, Path]:
    """What a model made from `folder` takes along: tokenizer files and generation settings."""
    generation = folder / "generation_config.json"
    own = {generation.name: generation} if generation.exists() else {}
    return {**tokenizer_files(tokenizer), **own}


def require_tokenizer_fits(tokenizer: Path, rows: int, model: Path) -> None:
    """Refuse a tokenizer that gives ids beyond the model's rows.

    Raises:
        BadInput: it does.
    """
    ids = tokenizer_ids(tokenizer)
    if ids is not None and ids > rows:
        raise BadInput(
            f"{tokenizer}: its tokenizer uses ids up to {ids - 1} but {model} has {rows} rows; "
            "the tokenizer does not belong to this model"
        )
