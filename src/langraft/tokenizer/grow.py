"""One entry to every way in which a vocabulary grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.tokenizer.append import (
    append_pieces_to,
    extend_by_characters,
    listed_pieces,
    trained_pieces,
    union_pieces,
)
from langraft.tokenizer.encoder import Encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer, open_base

METHODS = ("continued-bpe", "union", "characters", "list")


@dataclasses.dataclass(frozen=True)
class Growth:
    """How a vocabulary grows.

    Attributes:
        method: one of METHODS.
        size: most pieces to add; None only for union and list: all that are missing.
        vocabulary: instead of a size, the pieces of the whole vocabulary, padding token included.
        rules: what a learned piece may be.
        pieces: for list the file of pieces, for union a SentencePiece model; a union without one
            trains a unigram model on the text.
        only_scripts: leave out appended pieces that hold other characters than the scripts'.
        reachable_only: leave out appended pieces that no text produces.
        pad_token: a padding token to add, unless the base has it.
    """

    method: str
    size: int | None
    rules: Rules
    pieces: Path | None = None
    only_scripts: bool = True
    reachable_only: bool = True
    pad_token: str | None = None
    vocabulary: int | None = None


def grow(base: Path, texts: Iterable[str], growth: Growth, out: Path) -> dict[str, Any]:
    """Extend the tokenizer in `base` and write all to `out`; see the method's own function.

    Raises:
        BadInput: an unknown method, or what the method refuses.
    """
    if growth.method not in METHODS:
        raise BadInput(f"method: {growth.method!r} is unknown; known are {', '.join(METHODS)}")
    if growth.vocabulary is not None:
        size = pieces_to_add(open_base(base, out, growth.pad_token), growth.vocabulary)
        growth = dataclasses.replace(growth, size=size, vocabulary=None)
    if growth.method in ("continued-bpe", "characters"):
        if growth.size is None:
            raise BadInput(f"size: {growth.method} needs the number of pieces to add")
        learn = extend_tokenizer if growth.method == "continued-bpe" else extend_by_characters
        return learn(
            base,
            texts,
            size=growth.size,
            rules=growth.rules,
            out=out,
            pad_token=growth.pad_token,
        )
    return append_pieces_to(
        base,
        _pieces(texts, growth),
        out=out,
        size=growth.size,
        rules=growth.rules if growth.only_scripts else None,
        reachable_only=growth.reachable_only,
        pad_token=growth.pad_token,
    )


def pieces_to_add(base: Encoder, vocabulary: int) -> int:
    """Pieces that a vocabulary of so many takes beside the base's.

    Raises:
        BadInput: it takes none.
    """
    if vocabulary <= base.size:
        raise BadInput(
            f"vocabulary: {vocabulary:,} is not above the {base.size:,} pieces of {base.path}; "
            "give the size of the whole vocabulary, or a size for the pieces to add"
        )
    return vocabulary - base.size


def _pieces(texts: Iterable[str], growth: Growth) -> Callable[[Encoder], list[str]]:
    if growth.method == "list":
        if growth.pieces is None:
            raise BadInput("pieces: the method list needs a jsonl file of pieces")
        return listed_pieces(growth.pieces)
    if growth.pieces is not None:
        return union_pieces(growth.pieces)
    if growth.size is None:
        raise BadInput("size: a union that trains its own model needs the number of pieces")
    return trained_pieces(texts, 2 * growth.size)
