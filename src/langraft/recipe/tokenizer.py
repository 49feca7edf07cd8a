"""`tokenizer:` how the vocabulary grows."""

from __future__ import annotations

from typing import Literal

from langraft.recipe.section import Positive, Section


class Tokenizer(Section):
    """How the vocabulary grows. `size` counts added pieces; `pad_to` rounds the model's rows up to
    a multiple.
    """

    method: Literal["keep", "continued-bpe"] = "continued-bpe"
    size: Positive = 1_600
    pad_to: Positive = 64
    min_frequency: Positive = 2
    max_piece_characters: Positive = 16
