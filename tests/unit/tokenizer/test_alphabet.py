"""The byte alphabet against `tokenizers`, and character boundaries against Python's own UTF-8."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from langraft.tokenizer.alphabet import (
    SYMBOL_OF_BYTE,
    completions,
    from_symbols,
    split_partial,
    to_symbols,
)


def test_the_alphabet_is_that_of_tokenizers() -> None:
    assert sorted(SYMBOL_OF_BYTE.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    text = "naïve 中文\n"
    ((symbols, _),) = pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(text)
    assert to_symbols(text.encode()) == symbols


@given(st.binary())
def test_symbols_give_their_bytes_back(data: bytes) -> None:
    assert from_symbols(to_symbols(data)) == data


@pytest.mark.parametrize("prefix", ["c3", "e4b8", "e0a5", "e3", "f09f98", "f0a0", "ed9f", "f48f"])
def test_completions_are_the_characters_that_begin_so(prefix: str) -> None:
    wanted = [
        point
        for point in range(0x80, 0x110000)
        if chr(point).encode("utf-8", "surrogatepass").startswith(bytes.fromhex(prefix))
    ]
    assert list(completions(bytes.fromhex(prefix))) == wanted


@pytest.mark.parametrize("prefix", ["41", "80", "c0", "e441", "e4b8ad80", "ff"])
def test_what_begins_no_character_has_no_completions(prefix: str) -> None:
    assert not completions(bytes.fromhex(prefix))


@given(st.text(max_size=5).filter(lambda text: text != ""), st.integers(0, 20))
def test_any_cut_of_a_text_is_whole_characters_and_a_tail(text: str, cut: int) -> None:
    data = text.encode()[:cut]
    found = split_partial(data)
    assert found is not None
    whole, tail = found
    assert whole.encode() + tail == data
    assert text.startswith(whole)
    assert len(tail) < 4


def test_bytes_that_begin_inside_a_character_are_no_text() -> None:
    assert split_partial("中".encode()[1:]) is None
    assert split_partial("中".encode()[1:] + b"a") is None
