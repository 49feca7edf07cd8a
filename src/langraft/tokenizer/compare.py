"""How many tokens a text takes under a tokenizer, counted without special tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from langraft.tokenizer.encoder import Encoder, load_encoder


def measure(encoder: Encoder, texts: Iterable[str]) -> dict[str, Any]:
    """Count `texts`.

    Returns:
        tokens, characters (all of them, spaces and marks included), bytes (UTF-8),
        tokens_per_character, tokens_per_byte (ratios of the totals; 0.0 for no text).
    """
    documents = list(texts)
    tokens = sum(map(len, encoder.encode_batch(documents)))
    characters = sum(map(len, documents))
    size = sum(len(text.encode()) for text in documents)
    return {
        "tokens": tokens,
        "characters": characters,
        "bytes": size,
        "tokens_per_character": tokens / characters if characters else 0.0,
        "tokens_per_byte": tokens / size if size else 0.0,
    }


def compare(paths: Sequence[Path], texts: Iterable[str]) -> list[dict[str, Any]]:
    """One row a tokenizer: path, family, size, and what `measure` counts, on the same texts."""
    documents = list(texts)
    encoders = [load_encoder(path) for path in paths]
    return [
        {"path": str(encoder.path), "family": encoder.family, "size": encoder.size}
        | measure(encoder, documents)
        for encoder in encoders
    ]
