"""`tokenizer:` how the vocabulary grows."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from langraft.recipe.section import Positive, Section


class Tokenizer(Section):
    """How the vocabulary grows.

    Attributes:
        size: pieces to add; `auto` takes what a sweep recommends.
        vocabulary: instead of `size`, the pieces of the whole vocabulary.
        pad_to: the model's rows are rounded up to a multiple of this.
        mixed: a piece may also hold Latin letters and digits.
        pad_token: a padding token to add in front of the pieces, where the base has none such.
        pieces: for `list` a jsonl file of pieces, for `union` a SentencePiece model.
        only_scripts, unreachable: whether appended pieces of other scripts, and those that no text
            produces, are left out.
        proofs: whether a promise that does not hold ends the run.
    """

    method: Literal["keep", "continued-bpe", "union", "characters", "list"] = "continued-bpe"
    size: Positive | Literal["auto"] = 1_600
    vocabulary: Positive | None = None
    pad_to: Positive = 64
    min_frequency: Positive = 2
    max_piece_characters: Positive = 16
    mixed: bool = False
    pad_token: str | None = None
    pieces: str | None = None
    only_scripts: bool = True
    unreachable: Literal["keep", "drop"] = "drop"
    proofs: Literal["enforce", "report"] = "enforce"

    @model_validator(mode="after")
    def _keys_fit_the_method(self) -> Tokenizer:
        if self.method == "list" and self.pieces is None:
            raise ValueError("method: list needs pieces, a jsonl file of {piece: ...}")
        if self.pieces is not None and self.method not in ("list", "union"):
            raise ValueError(f"pieces is read by list and union, not by {self.method}")
        if self.size == "auto" and self.method != "continued-bpe":
            raise ValueError(f"size: auto is for continued-bpe; give {self.method} a number")
        if self.vocabulary is not None and "size" in self.model_fields_set:
            raise ValueError("size counts the pieces to add and vocabulary all of them; give one")
        return self
