"""Tokenizers of other systems, read into the two forms that are worked with here: OpenAI's
`.tiktoken` ranks and llama.cpp's GGUF vocabularies.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.tokenizer.alphabet import to_symbols
from langraft.tokenizer.sentencepiece_model import (
    BPE,
    BYTE,
    CONTROL,
    USER_DEFINED,
    empty_model,
    splits,
)

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How byte-level vocabularies cut text before merging, by llama.cpp's names: one regular expression,
# or steps of `tokenizers`.
SPLITS: dict[str, str] = {
    "llama-bpe": WORDS + r"\p{N}{1,3}" + REST,
    "qwen2": WORDS + r"\p{N}" + REST,
}
DIGITS = {"type": "Digits", "individual_digits": True}
BYTE_LEVEL_STEP = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
# A file names no splitting of its own: Qwen's cuts digits apart, OpenAI's and Meta's take three.
TIKTOKEN_SPLITS = {"qwen": "qwen2"}


def pre_tokenizer(name: str) -> dict[str, Any] | None:
    """The `tokenizers` step that llama.cpp calls `name`; None when it is not known here."""
    if name in SPLITS:
        split = {"type": "Split", "pattern": {"Regex": SPLITS[name]}, "behavior": "Isolated"}
        bare = BYTE_LEVEL_STEP | {"use_regex": False}
        return {"type": "Sequence", "pretokenizers": [split | {"invert": False}, bare]}
    if name == "smollm":
        return {"type": "Sequence", "pretokenizers": [DIGITS, BYTE_LEVEL_STEP]}
    return BYTE_LEVEL_STEP if name == "gpt-2" else None


CUTTING = frozenset(
    {"type", "pattern", "behavior", "invert", "individual_digits", "use_regex", "add_prefix_space"}
)
NAMES = ("gpt-2", "smollm", *SPLITS)


def name_of(step: Any) -> str | None:
    """llama.cpp's name for a `pre_tokenizer`, or None when it has none that is known here."""
    return next((name for name in NAMES if _plain(pre_tokenizer(name)) == _plain(step)), None)


def _plain(step: Any) -> Any:
    """The step without what does not change where it cuts."""
    if not isinstance(step, dict):
        return step
    if step.get("type") == "Sequence":
        return [_plain(part) for part in step["pretokenizers"]]
    found = {key: value for key, value in step.items() if key in CUTTING}
    return found | (
        {"use_regex": found.get("use_regex", True)} if step["type"] == "ByteLevel" else {}
    )


def byte_level(
    vocabulary: dict[str, int], merges: list[list[str]], split: dict[str, Any]
) -> dict[str, Any]:
    """The `tokenizer.json` of a byte-level vocabulary."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": split,
        "post_processor": None,
        "decoder": BYTE_LEVEL_STEP,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def read_tiktoken(path: Path) -> dict[str, Any]:
    """The `tokenizer.json` of a `.tiktoken` file: lines of a piece in base64 and its rank.

    tiktoken joins the neighbours whose concatenation has the lowest rank, so every way to make a
    piece of two others is a merge. The file says nothing of how text is cut: Qwen's rule is taken
    for a file with that name, Llama-3's for others.

    Raises:
        BadInput: a line is not of that form.
    """
    pieces: dict[str, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            piece, rank = line.split()
            pieces[to_symbols(base64.b64decode(piece, validate=True))] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise BadInput(
                f"{path}:{number}: not a line of a tiktoken file (base64, a space, a rank): {error}"
            ) from error
    if not pieces:
        raise BadInput(f"{path}: holds no pieces")
    ranked = sorted(pieces, key=pieces.__getitem__)
    merges = [list(pair) for piece in ranked for pair in splits(piece, pieces)]
    named = (name for part, name in TIKTOKEN_SPLITS.items() if part in path.name.lower())
    split = pre_tokenizer(next(named, "llama-bpe"))
    assert split is not None
    return byte_level(pieces, merges, split)


def read_gguf(path: Path) -> tuple[dict[str, Any] | None, Any]:
    """The vocabulary of a GGUF file.

    Returns:
        For a byte-level one its `tokenizer.json`, and None; for SentencePiece's None, and a model
        with its pieces and scores.

    Raises:
        BadInput: not a GGUF file, or without such a vocabulary.
    """
    from gguf import GGUFReader

    try:
        fields = GGUFReader(path).fields
    except (ValueError, struct.error, IndexError, FileNotFoundError) as error:
        raise BadInput(f"{path}: not a GGUF file ({error})") from error

    def value(key: str, otherwise: Any = None) -> Any:
        field = fields.get(f"tokenizer.ggml.{key}")
        return otherwise if field is None else field.contents()

    kind = value("model")
    if kind == "llama":
        return None, _scored_model(value)
    if kind == "gpt2":
        return _ranked_definition(path, value), None
    raise BadInput(
        f"{path}: its vocabulary is {kind or 'missing'}; read here are 'llama' (SentencePiece BPE) "
        "and 'gpt2' (byte-level BPE)"
    )


def _scored_model(value: Callable[..., Any]) -> Any:
    model = empty_model()
    rows = zip(value("tokens"), value("scores"), value("token_type"), strict=True)
    for piece, score, kind in rows:
        model.pieces.add(piece=piece, score=score, type=kind)
    spec = model.trainer_spec
    spec.model_type, spec.vocab_size = BPE, len(model.pieces)
    spec.byte_fallback = any(entry.type == BYTE for entry in model.pieces)
    spec.unk_id = int(value("unknown_token_id", 0))
    spec.bos_id, spec.eos_id = int(value("bos_token_id", 1)), int(value("eos_token_id", 2))
    spec.pad_id = -1
    normalizer = model.normalizer_spec
    normalizer.name, normalizer.remove_extra_whitespaces = "identity", False
    normalizer.add_dummy_prefix = bool(value("add_space_prefix", True))
    return model


def _ranked_definition(path: Path, value: Callable[..., Any]) -> dict[str, Any]:
    name = value("pre", "gpt-2")
    split = pre_tokenizer(name)
    if split is None:
        raise BadInput(
            f"{path}: its pre-tokenizer {name!r} is not known here; known are {', '.join(NAMES)}"
        )
    tokens, kinds = value("tokens"), value("token_type")
    merges = [line.split(" ") for line in value("merges")]
    definition = byte_level({piece: n for n, piece in enumerate(tokens)}, merges, split)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    definition["added_tokens"] = [
        {"id": index, "content": piece, "special": kind == CONTROL} | flags
        for index, (piece, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    return definition
