"""Counts worked by hand on the base of bare bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizer_bases import Extension

from langraft.core.errors import BadInput
from langraft.tokenizer.compare import compare, measure, open_counts
from langraft.tokenizer.encoder import load_encoder


def test_a_token_is_a_byte_for_the_base_of_bytes(bytes_base: Path) -> None:
    found = measure(load_encoder(bytes_base), ["中 a", "é"])
    assert found == {
        "tokens": 7,
        "characters": 4,
        "bytes": 7,
        "samples": 2,
        "tokens_per_character": 1.75,
        "tokens_per_byte": 1.0,
        "tokens_per_sample": 3.5,
        "words": 2,
        "words_split": 1.0,
        "byte_share": 5 / 7,
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


def test_a_words_own_space_does_not_split_it(extension: Extension) -> None:
    found = measure(extension.before, ["the end of the unbelievableness, 我们"])
    assert found["words"] == 5
    assert found["words_split"] == 0.2


def test_unigram_models_are_counted_too(material: Path) -> None:
    """The seeds' pieces were taken from one: it spells Chinese in fewer tokens than LLaMA-2."""
    paths = [
        material / "tokenizers" / name
        for name in ("chinese_sp-20000/chinese_sp.model", "llama2/tokenizer.model")
    ]
    texts = ["人工智能是计算机科学的一个分支。"]
    unigram, base = compare(paths, texts)
    assert (unigram["family"], unigram["size"]) == ("unigram", 20_000)
    assert unigram["tokens"] == len(open_counts(paths[0]).encode_batch(texts)[0])
    assert unigram["tokens_per_character"] < 0.6 * base["tokens_per_character"]
    assert base["byte_share"] == 0  # all of these characters are among LLaMA-2's 700
    (rare,) = compare([paths[1]], ["葡萄牙踢踏"])
    assert rare["byte_share"] == 15 / 16  # `▁`, then three bytes a character


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, bytes_base: Path) -> None:
    (tmp_path / "notes.model").write_text("not a model")
    with pytest.raises(BadInput, match=r"notes\.model: not a SentencePiece model"):
        compare([tmp_path / "notes.model"], ["text"])
    with pytest.raises(BadInput, match="hold no text"):
        compare([bytes_base], [""])
