"""Reading tokenizers: families, sizes, bytes of pieces, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizer_bases import Extension

from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json
from langraft.tokenizer.encoder import load_encoder

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
MIXED = st.text(alphabet="我们学习中文的。，「」 \n\r\tabcé😀\u0301\u200d1２▁Ġ", max_size=60)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=ANY_TEXT | MIXED)
def test_text_comes_back_and_pieces_spell_it(extension: Extension, text: str) -> None:
    encoder = extension.after
    assume(not any(token in text for token in encoder.added.values()))
    ids = encoder.encode(text)
    if extension.style == "sentencepiece" and "▁" in text:
        text = text.replace("▁", " ")  # SentencePiece's own space mark: the base loses it alike
    if extension.style == "sentencepiece":
        spelled = b"".join(map(encoder.piece_bytes, ids)).decode()
        assert spelled == (" " + text if text else "")
    else:
        assert b"".join(map(encoder.piece_bytes, ids)) == text.encode()
    assert encoder.decode(ids) == text
    assert encoder.encode_batch([text]) == [ids]


def test_family_and_pieces(extension: Extension) -> None:
    encoder = extension.before
    family = "sentencepiece" if extension.style == "sentencepiece" else "byte-level"
    assert encoder.family == family
    the = encoder.encode("in the end")[1]
    assert encoder.piece_bytes(the) == b" the"
    assert encoder.piece_text(the) == " the"
    assert encoder.byte_lengths[the] == 4
    assert encoder.size == 2500 + (3 if extension.style == "llama3" else 0)
    assert len(encoder.special_ids) == 3


def test_a_byte_is_a_byte(extension: Extension) -> None:
    ids = extension.before.encode("龘")
    assert b"".join(map(extension.before.piece_bytes, ids)).endswith("龘".encode())
    assert len(ids) >= 3


def test_a_folder_a_json_and_a_model_are_one(extension: Extension) -> None:
    text = "我们 in the  end。"
    names = ["tokenizer.json"] + ["tokenizer.model"] * (extension.style == "sentencepiece")
    for name in names:
        assert load_encoder(extension.extended / name).encode(text) == extension.after.encode(text)


def test_truncation_and_padding_of_the_file_are_not_applied(bytes_base: Path) -> None:
    path = bytes_base / "tokenizer.json"
    limit = {"max_length": 3, "stride": 0, "direction": "Right", "strategy": "LongestFirst"}
    write_json(path, read_json(path) | {"truncation": limit})
    assert len(load_encoder(path).encode("abcdef")) == 6


def test_merges_converted_by_id_yield_to_the_scores(scored: Extension, tmp_path: Path) -> None:
    definition = read_json(scored.extended / "tokenizer.json")
    definition["model"]["merges"] = definition["model"]["merges"][::-1]
    write_json(tmp_path / "tokenizer.json", definition)
    model = (scored.extended / "tokenizer.model").read_bytes()
    text = "The quick brown fox 我们学习中文"
    wrong = load_encoder(tmp_path).encode(text)
    (tmp_path / "tokenizer.model").write_bytes(model)
    assert wrong != scored.after.encode(text)
    assert load_encoder(tmp_path).encode(text) == scored.after.encode(text)


def test_two_files_that_disagree_are_refused(scored: Extension, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((scored.extended / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer.model").write_bytes((scored.base / "tokenizer.model").read_bytes())
    with pytest.raises(BadInput, match=r"tokenizer\.model: 700 pieces, '.+' for one, are not both"):
        load_encoder(tmp_path)
    assert load_encoder(tmp_path / "tokenizer.json").size == scored.after.size


def test_what_holds_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no tokenizer"):
        load_encoder(tmp_path)
    with pytest.raises(BadInput, match="no such file or folder"):
        load_encoder(tmp_path / "absent")
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(BadInput, match="not a SentencePiece model"):
        load_encoder(tmp_path)
    write_json(tmp_path / "tokenizer.json", {"some": "json"})
    with pytest.raises(BadInput, match=r"no model\.vocab"):
        load_encoder(tmp_path)


def test_a_bpe_with_word_ends_is_refused(bytes_base: Path) -> None:
    definition = read_json(bytes_base / "tokenizer.json")
    definition["model"]["end_of_word_suffix"] = "</w>"
    write_json(bytes_base / "tokenizer.json", definition)
    with pytest.raises(BadInput, match="end_of_word_suffix"):
        load_encoder(bytes_base)
