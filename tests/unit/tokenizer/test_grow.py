"""One entry to every way of growing: what it refuses, and sizes counted as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizer_bases import train_texts

from langraft.core.errors import BadInput
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules
from langraft.tokenizer.grow import Growth, grow

HAN = Rules(("Han",))


def test_a_whole_vocabulary_counts_the_base_and_the_padding_token(
    bytes_base: Path, tmp_path: Path
) -> None:
    growth = Growth("continued-bpe", None, HAN, pad_token="<pad>", vocabulary=320)
    found = grow(bytes_base, train_texts()[:10], growth, tmp_path / "out")
    after = load_encoder(tmp_path / "out")
    assert (found["base_pieces"], found["added_pieces"], after.size) == (257, 63, 320)
    assert after.vocabulary["<pad>"] == 256


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        (Growth("wordpiece", 10, HAN), "method: 'wordpiece' is unknown; known are continued-bpe"),
        (Growth("characters", None, HAN), "size: characters needs the number"),
        (Growth("list", 10, HAN), "pieces: the method list needs a jsonl file"),
        (Growth("union", None, HAN), "size: a union that trains its own model"),
        (Growth("continued-bpe", None, HAN, vocabulary=256), "256 is not above the 256 pieces"),
    ],
)
def test_what_is_refused(bytes_base: Path, tmp_path: Path, growth: Growth, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        grow(bytes_base, ["中文"], growth, tmp_path / "out")
