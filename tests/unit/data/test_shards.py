"""Token files and the frame around documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from langraft.core.errors import BadInput
from langraft.data.frame import document_frame
from langraft.data.shards import Frame, read_shard, write_shard


def _encode(texts: list[str]) -> list[list[int]]:
    return [[ord(character) for character in text] for text in texts]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = write_shard(tmp_path / "zh", ["ab", "", "c"], _encode, Frame(1, 2))
    read = read_shard(tmp_path / "zh")
    for shard in (written, read):
        assert shard.tokens.tolist() == [1, 97, 98, 2, 1, 2, 1, 99, 2]
        assert shard.offsets.tolist() == [0, 4, 6, 9]
        assert shard.documents == 3
    assert isinstance(read.tokens, np.memmap)
    assert read.tokens.dtype == np.uint32


def test_no_documents(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="zh: no documents to tokenise"):
        write_shard(tmp_path / "zh", [], _encode, Frame(1, 2))


def _tokenizer(added: list[str], **named: str) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    inner.add_special_tokens(added)
    return PreTrainedTokenizerFast(tokenizer_object=inner, **named)


@pytest.mark.parametrize(
    ("added", "named", "frame"),
    [
        (["<|endoftext|>", "<|im_start|>"], {"bos_token": "<|im_start|>"}, Frame(2, 2)),
        (["<s>", "</s>"], {"bos_token": "<s>", "eos_token": "</s>"}, Frame(2, 3)),
        (["</s>"], {"eos_token": "</s>"}, Frame(2, 2)),
    ],
)
def test_frame(added: list[str], named: dict[str, str], frame: Frame) -> None:
    assert document_frame(_tokenizer(added, **named)) == frame


def test_frame_needs_an_end() -> None:
    with pytest.raises(BadInput, match="names no end-of-text token"):
        document_frame(_tokenizer(["<s>"], bos_token="<s>"))
