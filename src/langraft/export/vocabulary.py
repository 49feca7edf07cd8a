"""A folder's tokenizer as GGUF stores it: pieces, scores, types, merges, and the settings that
llama.cpp cannot see from them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import tokenizers
from gguf import GGUFWriter as Writer
from gguf import TokenType

from langraft.checkpoint.folder import load_tokenizer
from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.tokenizer.encoder import BYTE_LEVEL, BYTE_PIECE, Encoder, load_encoder

SPLITS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "llama3",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
}
# llama.cpp knows a byte-level tokenizer's way of splitting by a name. Its own converter finds the
# name by hashing what a fixed text becomes, so an extended vocabulary is never found: we go by the
# stages instead, which an extension does not touch.
PRE_TOKENIZERS = {
    ("words",): "gpt-2",
    ("digits", "words"): "smollm",
    ("llama3", "bytes"): "llama-bpe",
    ("qwen2", "bytes"): "qwen2",
}
# SentencePiece's own numbering agrees with GGUF's.
LOWEST = -1e9


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        model: "gpt2" (byte-level) or "llama" (SentencePiece).
        pre: llama.cpp's name of the pre-tokenizer.
        pieces, types: one a row of the model, padding rows included.
        scores: SentencePiece only.
        merges: byte-level only.
        settings: further `tokenizer.ggml.*` keys, bool or int.
        template: the chat template, if there is one.
    """

    model: str
    pre: str
    pieces: list[str]
    types: list[int]
    scores: list[float] | None
    merges: list[str] | None
    settings: dict[str, bool | int]
    template: str | None

    def write(self, writer: Writer) -> None:
        """Add the keys to a file."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.pieces)
        writer.add_token_types(self.types)
        if self.scores is not None:
            writer.add_token_scores(self.scores)
        if self.merges is not None:
            writer.add_token_merges(self.merges)
        for name, value in self.settings.items():
            add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
            add(f"tokenizer.ggml.{name}", value)
        if self.template is not None:
            writer.add_chat_template(self.template)


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
    fast = load_tokenizer(folder)
    pieces = [f"[PAD{index}]" for index in range(rows)]
    types = [int(TokenType.UNUSED)] * rows
    byte_level = encoder.family == BYTE_LEVEL
    for piece, index in encoder.definition["model"]["vocab"].items():
        pieces[index] = piece
        types[index] = _type_of(piece, byte_level)
    for token in encoder.definition["added_tokens"]:
        pieces[token["id"]] = token["content"]
        types[token["id"]] = int(TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED)
    for index, text in _beside(folder).items():
        if index < rows and types[index] == TokenType.UNUSED:
            pieces[index], types[index] = text, int(TokenType.CONTROL)
    settings = _settings(encoder, fast)
    if byte_level:
        merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in _merges(encoder)]
        pre = pre_tokenizer_name(encoder)
        if not merges:
            raise BadInput(f"{encoder.path}: has no merges, and llama.cpp loads no such vocabulary")
        return Vocabulary("gpt2", pre, pieces, types, None, merges, settings, fast.chat_template)
    scores = _scores(encoder, rows)
    if encoder.model is not None:
        for index, entry in enumerate(encoder.model.pieces):
            if types[index] != TokenType.CONTROL or entry.type != TokenType.NORMAL:
                types[index] = int(entry.type)
        settings["remove_extra_whitespaces"] = bool(
            encoder.model.normalizer_spec.remove_extra_whitespaces
        )
    settings["add_space_prefix"] = _adds_space(encoder)
    return Vocabulary("llama", "default", pieces, types, scores, None, settings, fast.chat_template)


def _type_of(piece: str, byte_level: bool) -> int:
    if not byte_level and BYTE_PIECE.fullmatch(piece):
        return int(TokenType.BYTE)
    return int(TokenType.NORMAL)


def _merges(encoder: Encoder) -> list[Any]:
    return list(encoder.definition["model"]["merges"])


def _beside(folder: Path) -> dict[int, str]:
    """Tokens that only `added_tokens.json` names, as beside a bare `tokenizer.model`."""
    path = folder / "added_tokens.json"
    return {index: text for text, index in read_json(path).items()} if path.exists() else {}


def pre_tokenizer_name(encoder: Encoder) -> str:
    """llama.cpp's name for how a byte-level tokenizer splits text before merging.

    Raises:
        BadInput: it has none that we know.
    """
    stages = tuple(_stage(stage) for stage in _flat(encoder.definition.get("pre_tokenizer")))
    if stages not in PRE_TOKENIZERS:
        raise BadInput(
            f"{encoder.path}: splits text by {json.dumps(encoder.definition['pre_tokenizer'])}, "
            f"and llama.cpp's name for that is not known here (known: "
            f"{', '.join(PRE_TOKENIZERS.values())}); the model cannot become a GGUF file"
        )
    return PRE_TOKENIZERS[stages]


def _flat(stage: Any) -> list[dict[str, Any]]:
    if not stage:
        return []
    if stage["type"] == "Sequence":
        return [inner for part in stage["pretokenizers"] for inner in _flat(part)]
    return [stage]


def _stage(stage: dict[str, Any]) -> str:
    if stage["type"] == "ByteLevel" and not stage["add_prefix_space"]:
        return "words" if stage.get("use_regex", True) else "bytes"
    if stage["type"] == "Digits" and stage["individual_digits"]:
        return "digits"
    if stage["type"] == "Split" and stage["behavior"] == "Isolated" and not stage["invert"]:
        return SPLITS.get(stage["pattern"].get("Regex", ""), "unknown")
    return "unknown"


def _scores(encoder: Encoder, rows: int) -> list[float]:
    """What SentencePiece merges by; without its file the rank of a piece's first merge."""
    scores = [LOWEST] * rows
    if encoder.model is not None:
        for index, entry in enumerate(encoder.model.pieces):
            scores[index] = float(entry.score)
        return scores
    for rank, pair in enumerate(_merges(encoder)):
        left, right = pair if isinstance(pair, list) else pair.split(" ", 1)
        index = encoder.vocabulary[left + right]
        scores[index] = max(scores[index], -float(rank + 1))
    return scores


def _adds_space(encoder: Encoder) -> bool:
    if encoder.model is not None:
        return bool(encoder.model.normalizer_spec.add_dummy_prefix)
    written = json.dumps([encoder.definition.get(k) for k in ("normalizer", "pre_tokenizer")])
    return '"Prepend"' in written or '"prepend_scheme": "' in written.replace("never", "")


def _settings(encoder: Encoder, fast: Any) -> dict[str, bool | int]:
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


def reference(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer whose ids every export of this folder must give."""
    return load_encoder(folder).tokenizer
