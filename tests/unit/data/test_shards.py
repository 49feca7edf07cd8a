"""Token files and the frame around documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizer_bases import held_out, make_extension
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from langraft.core.errors import BadInput
from langraft.data import shards
from langraft.data.frame import document_frame
from langraft.data.shards import Frame, Spelling, read_shard, tokenise, write_shard


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


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE without merges, in a file."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner = Tokenizer(models.BPE({letter: n for n, letter in enumerate(sorted(alphabet))}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    inner.save(str(path))
    return path


def test_parts_written_by_processes_are_what_one_would_write(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text {n} " * (n % 7 + 1) for n in range(60)]
    whole = tokenise(tmp_path / "whole", texts, Spelling(tokenizer), Frame(0, 1))
    assert len(whole) == 1
    monkeypatch.setattr(shards, "PART_CHARACTERS", 400)
    parts = tokenise(tmp_path / "parts", iter(texts), Spelling(tokenizer), Frame(0, 1), workers=2)
    assert len(parts) > 3
    assert np.concatenate([p.tokens for p in parts]).tolist() == whole[0].tokens.tolist()
    assert sum(p.documents for p in parts) == 60
    again = tokenise(tmp_path / "parts", (), Spelling(tokenizer), Frame(0, 1))
    assert [p.documents for p in again] == [p.documents for p in parts]


def test_a_killed_call_keeps_its_finished_parts(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "PART_CHARACTERS", 100)
    texts = [f"text {n} " * 9 for n in range(6)]
    tokenise(tmp_path / "zh", texts, Spelling(tokenizer), Frame(0, 1), workers=1)
    (tmp_path / "zh" / "parts").unlink()
    (tmp_path / "zh" / "00001").rename(tmp_path / "zh" / "00001.partial")
    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "zh").glob("0*/tokens.npy")}
    found = tokenise(tmp_path / "zh", texts, Spelling(tokenizer), Frame(0, 1), workers=1)
    assert sum(shard.documents for shard in found) == 6
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "zh").glob("0*/tokens.npy")}
    assert made.items() <= kept.items()


def test_nothing_to_tokenise(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(BadInput, match="zh: no documents"):
        tokenise(tmp_path / "zh", [], Spelling(tokenizer), Frame(0, 1))


def test_dropout_spells_parts_apart_and_each_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One text in two parts: two spellings of it, both repeatable, with any number of processes."""
    made = make_extension(tmp_path, "gpt2")
    text = held_out()[0][:3000]
    monkeypatch.setattr(shards, "PART_CHARACTERS", 1000)
    spelling = Spelling(made.extended, made.base, dropout=0.2, seed=3)
    one = tokenise(tmp_path / "one", [text, text], spelling, Frame(0, 1), workers=1)
    two = tokenise(tmp_path / "two", [text, text], spelling, Frame(0, 1), workers=2)
    assert [shard.tokens.tolist() for shard in one] == [shard.tokens.tolist() for shard in two]
    assert one[0].tokens.tolist() != one[1].tokens.tolist()
    for shard in one:
        ids = shard.tokens.tolist()[1:-1]
        assert len(ids) > 1.02 * len(made.after.encode(text))
        assert made.after.decode(ids) == text
    plain = Spelling(made.extended, made.base)
    (first, _) = tokenise(tmp_path / "plain", [text, text], plain, Frame(0, 1))
    assert first.tokens.tolist()[1:-1] == made.after.encode(text)
