"""A vocabulary as GGUF files hold it: pieces, types, scores or merges, and how text is split."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING

from langraft.core.errors import BadInput
from langraft.tokenizer.encoder import BYTE_LEVEL, BYTE_PIECE, Encoder
from langraft.tokenizer.formats import NAMES, name_of
from langraft.tokenizer.sentencepiece_model import BYTE, CONTROL, NORMAL, UNUSED, USER_DEFINED

if TYPE_CHECKING:
    from gguf import GGUFWriter

LOWEST = -1e9
PREPENDS = re.compile(
    r'"type": "Prepend"|"prepend_scheme": "(always|first)"|"add_prefix_space": true'
)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        model: "gpt2" (byte-level) or "llama" (SentencePiece).
        pre: llama.cpp's name of the pre-tokenizer.
        pieces, types: one a row of the model, padding rows included; the types' numbers are
            SentencePiece's own.
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
    template: str | None = None

    def write(self, writer: GGUFWriter) -> None:
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


def vocabulary_of(encoder: Encoder, rows: int) -> Vocabulary:
    """The vocabulary of `encoder` for a model of `rows` rows, at least as many as it has ids; ids
    that it does not use are named and marked unused.

    Raises:
        BadInput: it splits text in a way that llama.cpp has no name for.
    """
    pieces, types = [f"[PAD{index}]" for index in range(rows)], [UNUSED] * rows
    byte_level = encoder.family == BYTE_LEVEL
    for piece, index in encoder.definition["model"]["vocab"].items():
        pieces[index] = piece
        types[index] = BYTE if not byte_level and BYTE_PIECE.fullmatch(piece) else NORMAL
    for index, text in encoder.added.items():
        pieces[index] = text
        types[index] = CONTROL if index in encoder.special_ids else USER_DEFINED
    if byte_level:
        merges = [" ".join(pair) for pair in _merges(encoder)]
        return Vocabulary("gpt2", _splitting(encoder), pieces, types, None, merges, {})
    settings: dict[str, bool | int] = {"add_space_prefix": _adds_space(encoder)}
    if encoder.model is not None:
        for index, entry in enumerate(encoder.model.pieces):
            if types[index] != CONTROL or entry.type != NORMAL:
                types[index] = int(entry.type)
        settings["remove_extra_whitespaces"] = bool(
            encoder.model.normalizer_spec.remove_extra_whitespaces
        )
    return Vocabulary("llama", "default", pieces, types, _scores(encoder, rows), None, settings)


def _splitting(encoder: Encoder) -> str:
    """llama.cpp knows a byte-level tokenizer's way of splitting by a name. Its own converter finds
    the name by hashing what a fixed text becomes, so an extended vocabulary is never found: we go
    by the stages instead, which an extension does not touch.
    """
    stages = encoder.definition.get("pre_tokenizer")
    name = name_of(stages)
    if name is None:
        raise BadInput(
            f"{encoder.path}: splits text by {json.dumps(stages)}, and llama.cpp's name for that "
            f"is not known here (known: {', '.join(NAMES)}); the model cannot become a GGUF file"
        )
    return name


def _merges(encoder: Encoder) -> list[list[str]]:
    """Pairs; older files write one text with a space."""
    merges = encoder.definition["model"]["merges"]
    return [pair.split(" ", 1) if isinstance(pair, str) else pair for pair in merges]


def _scores(encoder: Encoder, rows: int) -> list[float]:
    """What SentencePiece merges by; without its file the rank of a piece's first merge."""
    scores = [LOWEST] * rows
    if encoder.model is not None:
        for index, entry in enumerate(encoder.model.pieces):
            scores[index] = float(entry.score)
        return scores
    for rank, (left, right) in enumerate(_merges(encoder)):
        index = encoder.vocabulary[left + right]
        scores[index] = max(scores[index], -float(rank + 1))
    return scores


def _adds_space(encoder: Encoder) -> bool:
    if encoder.model is not None:
        return bool(encoder.model.normalizer_spec.add_dummy_prefix)
    stages = [encoder.definition.get(key) for key in ("normalizer", "pre_tokenizer")]
    return PREPENDS.search(json.dumps(stages)) is not None
