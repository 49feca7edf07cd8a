"""Base tokens under each new piece, and both encodings of a text side by side."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_bases import Extension, held_out

from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json
from langraft.tokenizer.alphabet import to_symbols
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.segments import align, subtokens

MIXED = st.text(alphabet="我们学习中文的国家规定。，「」 \nabcdeé😀\u0301\u200d12", max_size=80)


def test_subtokens_spell_exactly_the_piece(extension: Extension) -> None:
    before, after = extension.before, extension.after
    found = subtokens(before, after)
    assert len(found) == after.size - before.size
    for index, ids in enumerate(found, before.size):
        assert b"".join(map(before.piece_bytes, ids)) == after.piece_bytes(index)
        assert max(ids) < before.size
        assert len(ids) >= 2


def test_no_dummy_prefix_leaks_in(extension: Extension) -> None:
    space = extension.before.encode("a b")[-1]
    for ids in subtokens(extension.before, extension.after):
        assert not extension.before.piece_bytes(ids[0]).startswith(b" ")
        assert space not in ids


def test_subtokens_are_what_the_base_gives_in_mid_text(extension: Extension) -> None:
    before, after = extension.before, extension.after
    for index, ids in enumerate(subtokens(before, after), before.size):
        text = after.piece_text(index)
        if "�" not in text:
            around = before.encode(f"\n{text}\n")
            assert any(around[n : n + len(ids)] == ids for n in range(len(around))), text


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=MIXED)
def test_every_extended_token_ends_where_a_base_token_ends(extension: Extension, text: str) -> None:
    before, after = extension.before, extension.after
    old, new = before.encode(text), after.encode(text)
    places = align(old, new, before, after)
    assert len(places) == len(new)
    start = 0
    for index, place in zip(new, places, strict=True):
        spelled = b"".join(map(before.piece_bytes, old[start : place + 1]))
        assert spelled == after.piece_bytes(index)
        start = place + 1
    assert start == len(old)


def test_alignment_is_fast(extension: Extension) -> None:
    texts = held_out()
    old, new = extension.before.encode_batch(texts), extension.after.encode_batch(texts)
    started = time.perf_counter()
    tokens = sum(
        len(align(one, two, extension.before, extension.after))
        for one, two in zip(old, new, strict=True)
    )
    assert tokens == sum(map(len, new))
    assert tokens / (time.perf_counter() - started) > 200_000


def test_two_different_texts_do_not_align(extension: Extension) -> None:
    before, after = extension.before, extension.after
    with pytest.raises(BadInput, match=r"spell \d+ bytes and those of .* spell \d+"):
        align(before.encode("我们"), after.encode("他"), before, after)
    with pytest.raises(BadInput, match="spell 0 bytes"):
        align(before.encode("我们"), [], before, after)
    with pytest.raises(BadInput, match=r"token \d \('.+'\) ends where no token"):
        align(after.encode("我们"), before.encode("我们"), after, before)
    assert align([], [], before, after) == []


def test_a_piece_the_base_cannot_spell(bytes_base: Path, extension: Extension) -> None:
    definition = read_json(bytes_base / "tokenizer.json")
    del definition["model"]["vocab"][to_symbols("我".encode()[:1])]
    write_json(bytes_base / "small.json", definition)
    small = load_encoder(bytes_base / "small.json")
    with pytest.raises(BadInput, match=r"cannot spell piece \d+"):
        subtokens(small, extension.after)
