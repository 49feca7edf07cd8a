"""A folder's tokenizer as GGUF stores it, with the settings that llama.cpp cannot see from the
pieces.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import load_tokenizer
from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.gguf_vocabulary import Vocabulary, vocabulary_of
from langraft.tokenizer.sentencepiece_model import CONTROL, UNUSED


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """The vocabulary of the model in `folder`.

    Args:
        rows: of the embedding; ids that the tokenizer does not use are named and marked unused.

    Raises:
        BadInput: no BPE tokenizer, one that splits text in a way llama.cpp has no name for, or one
            with more ids than the model has rows.
    """
    encoder = load_encoder(folder)
    if encoder.size > rows:
        raise BadInput(
            f"{folder}: its tokenizer has {encoder.size:,} ids and the model {rows:,} rows; "
            "the tokenizer does not belong to this model"
        )
    found = vocabulary_of(encoder, rows)
    if found.merges == []:
        raise BadInput(f"{encoder.path}: has no merges, and llama.cpp loads no such vocabulary")
    for index, text in _beside(folder).items():
        if index < rows and found.types[index] == UNUSED:
            found.pieces[index], found.types[index] = text, CONTROL
    fast = load_tokenizer(folder)
    settings = found.settings | _settings(fast)
    return dataclasses.replace(found, settings=settings, template=fast.chat_template)


def _beside(folder: Path) -> dict[int, str]:
    """Tokens that only `added_tokens.json` names, as beside a bare `tokenizer.model`."""
    path = folder / "added_tokens.json"
    return {index: text for text, index in read_json(path).items()} if path.exists() else {}


def _settings(fast: Any) -> dict[str, bool | int]:
    """Ids of the special tokens, and which of them a text gets; found by trying."""
    found: dict[str, bool | int] = {}
    for key, value in (
        ("bos_token_id", fast.bos_token_id),
        ("eos_token_id", fast.eos_token_id),
        ("unknown_token_id", fast.unk_token_id),
        ("padding_token_id", fast.pad_token_id),
    ):
        if value is not None:
            found[key] = int(value)
    framed, bare = fast("a")["input_ids"], fast("a", add_special_tokens=False)["input_ids"]
    extra = len(framed) - len(bare)
    found["add_bos_token"] = extra > 0 and framed[0] == fast.bos_token_id
    found["add_eos_token"] = extra > 0 and framed[-1] == fast.eos_token_id
    return found
