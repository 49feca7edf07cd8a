"""One encoder for every tokenizer that can be extended: text to ids, ids to bytes."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.tokenizer.alphabet import from_symbols, to_symbols
from langraft.tokenizer.formats import read_gguf, read_tiktoken
from langraft.tokenizer.sentencepiece_model import (
    BYTE,
    NORMAL,
    SPACE,
    definition_of,
    load_processor,
    read_model,
    scored_merges,
    shared_scores,
)

BYTE_LEVEL, SENTENCEPIECE = "byte-level", "sentencepiece"
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A BPE tokenizer of either family.

    Attributes:
        path: where it was read from.
        family: "byte-level" or "sentencepiece".
        definition: the content of its `tokenizer.json`; for a SentencePiece model, merges in
            the order of the scores.
        model: SentencePiece's protobuf, or None where the folder holds none.
    """

    path: Path
    family: str
    definition: dict[str, Any] = dataclasses.field(repr=False)
    model: Any = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The `tokenizers` object that does the work."""
        plain = self.definition | {"truncation": None, "padding": None}
        return tokenizers.Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))

    @functools.cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every piece as it is written in the vocabulary, added tokens included, to its id."""
        added = {token["content"]: token["id"] for token in self.definition["added_tokens"]}
        return dict(self.definition["model"]["vocab"]) | added

    @functools.cached_property
    def added(self) -> dict[int, str]:
        """Tokens matched as a whole before anything is merged (special or not), id to text."""
        return {token["id"]: token["content"] for token in self.definition["added_tokens"]}

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the special tokens."""
        return frozenset(
            token["id"] for token in self.definition["added_tokens"] if token["special"]
        )

    @functools.cached_property
    def size(self) -> int:
        """Highest id + 1."""
        return max(self.vocabulary.values()) + 1

    @functools.cached_property
    def bytes_by_id(self) -> list[bytes]:
        """What each id spells, in UTF-8; empty for an id that no piece has."""
        table = [b""] * self.size
        for piece, index in self.definition["model"]["vocab"].items():
            if index not in self.added:
                table[index] = self._bytes_of(piece)
        for index, text in self.added.items():
            table[index] = text.encode()
        return table

    def _bytes_of(self, piece: str) -> bytes:
        if self.family == BYTE_LEVEL:
            try:
                return from_symbols(piece)
            except KeyError:
                return piece.encode()
        byte = BYTE_PIECE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE, " ").encode()

    @functools.cached_property
    def byte_lengths(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Number of bytes that each id spells, shape (size,)."""
        return np.array([len(data) for data in self.bytes_by_id], dtype=np.int64)

    @functools.cached_property
    def processor(self) -> Any:
        """SentencePiece itself where several pieces share a score, else None.

        Between equal scores it takes the leftmost pair; merges, which stand in a line, cannot say
        that.
        """
        if self.model is None or not shared_scores(self.model):
            return None
        return load_processor(self.model)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens around it."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens; all cores work on it."""
        if self.processor is not None:
            return [list(ids) for ids in self.processor.encode(list(texts))]
        return self.encode_by_merges(texts)

    def encode_by_merges(self, texts: Sequence[str]) -> list[list[int]]:
        """What `tokenizer.json` gives for each text, without special tokens."""
        return [
            found.ids
            for found in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def piece_bytes(self, index: int) -> bytes:
        """The UTF-8 bytes of one id; a byte-level piece may begin or end inside a character."""
        return self.bytes_by_id[index]

    def piece_text(self, index: int) -> str:
        """The piece as text; `�` where its bytes are not whole characters."""
        return self.bytes_by_id[index].decode(errors="replace")

    def spells(self, text: str) -> bool:
        """Whether the base's own tokens give `text` back."""
        return b"".join(self.bytes_by_id[index] for index in self.spell(text.encode())) == (
            text.encode()
        )

    def spell(self, data: bytes) -> list[int]:
        """The ids that merging gives for exactly `data` in mid-text: no dummy prefix, no splitting.

        `data` may begin or end inside a character in the byte-level family.
        """
        written = (
            to_symbols(data) if self.family == BYTE_LEVEL else data.decode().replace(" ", SPACE)
        )
        return [token.id for token in self.tokenizer.model.tokenize(written)]


def load_encoder(path: Path) -> Encoder:
    """Read the tokenizer of a Hugging Face folder, a `tokenizer.json`, a `tokenizer.model`, a
    `.tiktoken` file or the vocabulary in a `.gguf` file.

    In a folder that holds both files the scores of `tokenizer.model` decide the order of the
    merges, because `tokenizer.json` files converted by id read some texts differently from
    SentencePiece.

    Raises:
        BadInput: no tokenizer there, not one of the two BPE families, or two files that hold
            different pieces.
    """
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise BadInput(
            f"{path}: no such file or folder; "
            "give a model folder, a tokenizer.json or a tokenizer.model"
        )
    readers = {".json": _from_json, ".tiktoken": _from_tiktoken, ".gguf": _from_gguf}
    return readers.get(path.suffix, _from_model)(path)


def _load_folder(folder: Path) -> Encoder:
    written, model = folder / "tokenizer.json", folder / "tokenizer.model"
    if written.exists():
        encoder = _from_json(written)
        return (
            _with_scores(encoder, model)
            if encoder.family == SENTENCEPIECE and model.exists()
            else encoder
        )
    if model.exists():
        return _from_model(model)
    raise BadInput(
        f"{folder}: holds no tokenizer (tokenizer.json or tokenizer.model); "
        "copy it next to the weights"
    )


def _from_model(path: Path) -> Encoder:
    model = read_model(path)
    return Encoder(path, SENTENCEPIECE, definition_of(model), model)


def _from_tiktoken(path: Path) -> Encoder:
    return Encoder(path, BYTE_LEVEL, read_tiktoken(path))


def _from_gguf(path: Path) -> Encoder:
    definition, model = read_gguf(path)
    if definition is not None:
        return Encoder(path, BYTE_LEVEL, definition)
    return Encoder(path, SENTENCEPIECE, definition_of(model), model)


def _from_json(path: Path) -> Encoder:
    definition = read_json(path)
    model = definition.get("model") if isinstance(definition, dict) else None
    if not isinstance(model, dict) or "vocab" not in model:
        raise BadInput(f"{path}: not a tokenizers file (no model.vocab)")
    kind = model.get("type") or ("BPE" if "merges" in model else "unknown")
    if kind != "BPE":
        raise BadInput(
            f"{path}: a {kind} model; only BPE can be continued. "
            "Choose another base, or keep its vocabulary"
        )
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise BadInput(
            f"{path}: its BPE marks the beginnings or ends of words (continuing_subword_prefix, "
            "end_of_word_suffix); such a vocabulary cannot be extended here"
        )
    definition["added_tokens"] = definition.get("added_tokens") or []
    return Encoder(path, _family(path, definition), definition)


def _family(path: Path, definition: dict[str, Any]) -> str:
    if definition["model"].get("byte_fallback"):
        return SENTENCEPIECE
    stages = json.dumps([definition.get("pre_tokenizer"), definition.get("decoder")])
    if '"ByteLevel"' in stages:
        return BYTE_LEVEL
    if any(SPACE in piece for piece in definition["model"]["vocab"]):
        return SENTENCEPIECE
    raise BadInput(
        f"{path}: a BPE tokenizer that is neither byte-level nor SentencePiece's; "
        "it cannot be extended here"
    )


def _with_scores(encoder: Encoder, path: Path) -> Encoder:
    model = read_model(path)
    own = {entry.piece for entry in model.pieces if entry.type in (NORMAL, BYTE)}
    written = {
        piece
        for piece, index in encoder.definition["model"]["vocab"].items()
        if index not in encoder.added
    }
    apart = sorted(
        (written - {entry.piece for entry in model.pieces}) | own - {*encoder.vocabulary}
    )
    if apart:
        raise BadInput(
            f"{path}: {len(apart):,} pieces, {apart[0]!r} for one, are not both in it and in "
            "tokenizer.json beside it; give the one file that the model was trained with"
        )
    definition = dict(encoder.definition)
    definition["model"] = definition["model"] | {
        "merges": [list(pair) for pair in scored_merges(model)]
    }
    return Encoder(encoder.path, encoder.family, definition, model)
