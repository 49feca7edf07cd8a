"""How many tokens a text takes under a tokenizer, counted without special tokens."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import regex

from langraft.core.errors import BadInput
from langraft.tokenizer.encoder import BYTE_PIECE, SENTENCEPIECE, Encoder, load_encoder
from langraft.tokenizer.scripts import UNSPACED
from langraft.tokenizer.sentencepiece_model import SPACE, load_processor, parse_model

_UNSPACED = "".join(r"\p{Script=" + name + "}" for name in sorted(UNSPACED))
WORD = regex.compile(r"(?V1)[[\p{L}\p{M}]--[" + _UNSPACED + "]]+")


class Counts(Protocol):
    """What a tokenizer must know to be counted."""

    @property
    def path(self) -> Path:
        """Where it was read from."""

    @property
    def family(self) -> str:
        """Its kind."""

    @property
    def size(self) -> int:
        """Its ids."""

    @property
    def bytes_by_id(self) -> list[bytes]:
        """What each id spells."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens."""


@dataclasses.dataclass(frozen=True)
class Unigram:
    """A SentencePiece model that cannot be extended here, read for comparison only."""

    path: Path
    model: Any = dataclasses.field(repr=False)
    family: str = "unigram"

    @functools.cached_property
    def processor(self) -> Any:
        """SentencePiece itself."""
        return load_processor(self.model)

    @property
    def size(self) -> int:
        """Its ids."""
        return len(self.model.pieces)

    @functools.cached_property
    def bytes_by_id(self) -> list[bytes]:
        """What each id spells."""
        pieces = (entry.piece for entry in self.model.pieces)
        return [
            bytes([int(found[1], 16)])
            if (found := BYTE_PIECE.fullmatch(piece))
            else piece.replace(SPACE, " ").encode()
            for piece in pieces
        ]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens."""
        return [list(ids) for ids in self.processor.encode(list(texts))]


def open_counts(path: Path) -> Counts:
    """Any tokenizer that can be counted: those that can be extended, and unigram models.

    Raises:
        BadInput: the file is none.
    """
    try:
        return load_encoder(path)
    except BadInput:
        model = path / "tokenizer.model" if path.is_dir() else path
        if model.suffix != ".model" or not model.exists():
            raise
        return Unigram(path, parse_model(model))


def measure(encoder: Counts, texts: Iterable[str]) -> dict[str, Any]:
    """Count `texts`, one sample each.

    Returns:
        tokens, characters (all of them, spaces and marks included), bytes (UTF-8), samples;
        tokens_per_character, tokens_per_byte, tokens_per_sample (ratios of the totals; 0.0 for no
        text); words (of scripts with spaces) and words_split, the share of them that take more than
        one token; byte_share, the share of tokens that are no whole characters.
    """
    documents = list(texts)
    encoded = encoder.encode_batch(documents)
    tokens = sum(map(len, encoded))
    characters = sum(map(len, documents))
    size = sum(len(text.encode()) for text in documents)
    partial = _partial(encoder)
    in_bytes = sum(partial[index] for ids in encoded for index in ids)
    words, split = _words(encoder, documents)
    return {
        "tokens": tokens,
        "characters": characters,
        "bytes": size,
        "samples": len(documents),
        "tokens_per_character": _ratio(tokens, characters),
        "tokens_per_byte": _ratio(tokens, size),
        "tokens_per_sample": _ratio(tokens, len(documents)),
        "words": words,
        "words_split": _ratio(split, words),
        "byte_share": _ratio(in_bytes, tokens),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _partial(encoder: Counts) -> list[bool]:
    """Per id, whether it is a byte or a part of a character."""
    found = []
    for data in encoder.bytes_by_id:
        try:
            data.decode()
            found.append(False)
        except UnicodeDecodeError:
            found.append(True)
    if encoder.family == SENTENCEPIECE and isinstance(encoder, Encoder):
        for piece, index in encoder.definition["model"]["vocab"].items():
            found[index] = bool(BYTE_PIECE.fullmatch(piece))
    return found


def _words(encoder: Counts, texts: Sequence[str]) -> tuple[int, int]:
    counts = Counter(word for text in texts for word in WORD.findall(text))
    front = " " if encoder.family == "byte-level" else ""  # SentencePiece puts its own in front
    encoded = encoder.encode_batch([front + word for word in counts])
    pairs = zip(counts.values(), encoded, strict=True)
    return counts.total(), sum(count for count, ids in pairs if len(ids) > 1)


def compare(paths: Sequence[Path], texts: Iterable[str]) -> list[dict[str, Any]]:
    """One row a tokenizer: path, family, size, and what `measure` counts, on the same texts."""
    documents = list(texts)
    if not any(documents):
        raise BadInput("text: the files hold no text to compare on")
    encoders = [open_counts(path) for path in paths]
    return [
        {"path": str(encoder.path), "family": encoder.family, "size": encoder.size}
        | measure(encoder, documents)
        for encoder in encoders
    ]
