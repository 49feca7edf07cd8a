"""Counts worked by hand on the base of bare bytes."""

from __future__ import annotations

from pathlib import Path

from tokenizer_bases import Extension

from langraft.tokenizer.compare import compare, measure
from langraft.tokenizer.encoder import load_encoder


def test_a_token_is_a_byte_for_the_base_of_bytes(bytes_base: Path) -> None:
    found = measure(load_encoder(bytes_base), ["中 a", "é"])
    assert found == {
        "tokens": 7,
        "characters": 4,
        "bytes": 7,
        "tokens_per_character": 1.75,
        "tokens_per_byte": 1.0,
    }


def test_no_text_is_no_division(bytes_base: Path) -> None:
    assert measure(load_encoder(bytes_base), [])["tokens_per_character"] == 0.0


def test_rows_are_over_the_same_texts(extension: Extension) -> None:
    texts = iter(["我们学习中文。"])
    rows = compare([extension.base, extension.extended], texts)
    assert [row["characters"] for row in rows] == [7, 7]
    assert [row["size"] for row in rows] == [extension.before.size, extension.after.size]
    assert rows[1]["tokens"] < rows[0]["tokens"]
    assert [row["family"] for row in rows] == [extension.before.family] * 2
