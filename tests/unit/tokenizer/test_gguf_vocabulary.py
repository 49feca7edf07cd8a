from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizer_bases import byte_level_base, lines, sentencepiece_base

from langraft.core.errors import BadInput
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.gguf_vocabulary import vocabulary_of
from langraft.tokenizer.llama_cpp import llama_cpp_ids, why_not
from langraft.tokenizer.sentencepiece_model import BYTE, CONTROL, UNUSED, definition_of, read_model


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A SentencePiece vocabulary as `tokenizer.json` alone."""
    folder = tmp_path_factory.mktemp("pieces")
    sentencepiece_base(folder)
    return definition_of(read_model(folder / "tokenizer.model"))


@pytest.mark.parametrize("scheme", ["never", "first"])
def test_a_leading_space_is_added_only_where_the_tokenizer_adds_one(
    scheme: str, definition: dict[str, object], tmp_path: Path
) -> None:
    """Without SentencePiece's file the merges' ranks are the scores; llama.cpp is the judge."""
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    written = definition | {"normalizer": None, "pre_tokenizer": space}
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    encoder = load_encoder(tmp_path)
    assert encoder.model is None
    assert vocabulary_of(encoder, encoder.size).settings == {"add_space_prefix": scheme == "first"}
    texts = [text.strip() for text in lines("en", 200)]
    assert llama_cpp_ids(encoder, texts) == encoder.encode_batch(texts)


def test_padding_rows_bytes_and_special_tokens_have_their_types(
    definition: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    encoder = load_encoder(tmp_path)
    found = vocabulary_of(encoder, encoder.size + 3)
    assert len(found.pieces) == len(found.types) == encoder.size + 3
    assert found.types[-3:] == [UNUSED] * 3
    assert found.types[encoder.vocabulary["<0x41>"]] == BYTE
    assert found.types[encoder.vocabulary["<s>"]] == CONTROL


def test_another_splitting_has_no_name(tmp_path: Path) -> None:
    """A space before the first word is part of the splitting, and no name of llama.cpp's has it."""
    byte_level_base(tmp_path, "gpt2")
    path = tmp_path / "tokenizer.json"
    written = json.loads(path.read_text())
    assert vocabulary_of(load_encoder(path), 5_000).pre == "smollm"
    path.write_text(
        json.dumps(written).replace('"add_prefix_space": false', '"add_prefix_space": true')
    )
    encoder: Encoder = load_encoder(path)
    assert "not known here" in why_not(encoder)
    with pytest.raises(BadInput, match="known: gpt-2, smollm, llama-bpe, qwen2"):
        vocabulary_of(encoder, 5_000)
