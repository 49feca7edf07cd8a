"""Bits per byte against hand computation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_llama import random_llama

from langraft.core.errors import BadInput
from langraft.evals import bits
from langraft.evals.bits import Bits, bits_of_each, bits_per_byte, excerpts, windows

START = 1


def _encode(texts: list[str]) -> list[list[int]]:
    """One token a character, none of them START."""
    return [[2 + ord(character) % 60 for character in text] for text in texts]


@given(length=st.integers(0, 200), size=st.integers(2, 64))
@settings(max_examples=200, deadline=None)
def test_windows_score_every_token_once_in_order(length: int, size: int) -> None:
    ids = list(range(100, 100 + length))
    framed = [START, *ids]
    scored: list[int] = []
    for number, window in enumerate(windows(ids, START, size)):
        assert 1 <= window.scored < len(window.ids) <= size
        scored += window.ids[-window.scored :]
        seen = framed[: 1 + len(scored)]
        assert window.ids == seen[-len(window.ids) :]
        context = len(window.ids) - window.scored
        assert context == (1 if number == 0 else max(1, size // 4))
    assert scored == ids


def test_per_byte_by_hand() -> None:
    assert Bits(nats=8 * math.log(2), tokens=3, bytes=4).per_byte == pytest.approx(2.0)


def test_equals_full_logits_where_a_document_fits_one_window() -> None:
    model, text = random_llama(), "ab中c"
    ids = torch.tensor([[START, *_encode([text])[0]]])
    with torch.no_grad():
        logprobs = model(ids).logits[0].log_softmax(-1)
    nats = -sum(float(logprobs[n, int(ids[0, n + 1])]) for n in range(4))
    found = bits_per_byte(model, _encode, [text], start=START, window=16)
    assert (found.tokens, found.bytes) == (4, 6)
    assert found.nats == pytest.approx(nats, abs=1e-5)
    assert found.per_byte == pytest.approx(nats / math.log(2) / 6, abs=1e-6)


def test_equals_full_logits_of_every_window() -> None:
    model, text = random_llama(), "The quick brown fox jumps over it"
    ids = _encode([text])[0]
    nats = 0.0
    for begin, first in ((0, 1), (6, 8), (12, 14), (18, 20), (24, 26), (30, 32)):
        window = torch.tensor([[START, *ids][begin : begin + 8]])
        with torch.no_grad():
            logprobs = model(window).logits[0].log_softmax(-1)
        for place in range(first - begin, window.shape[1]):
            nats -= float(logprobs[place - 1, int(window[0, place])])
    found = bits_per_byte(model, _encode, [text], start=START, window=8)
    assert found.tokens == len(ids) == 33
    assert found.nats == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("window", [2, 3, 8, 512])
def test_a_uniform_model_spends_the_log_of_the_vocabulary(window: int) -> None:
    model = random_llama(vocab=64)
    torch.nn.init.zeros_(model.lm_head.weight)
    texts = ["中文字", "plain english text", ""]
    found = bits_per_byte(model, _encode, texts, start=START, window=window)
    assert (found.tokens, found.bytes) == (21, 27)
    assert found.per_byte == pytest.approx(6 * 21 / 27, abs=1e-6)


def test_documents_beside_each_other_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_llama()
    texts = ["a", "The quick brown fox", "中文", "jumps over the lazy dog " * 3]
    together = bits_per_byte(model, _encode, texts, start=START, window=32)
    apart = [bits_per_byte(model, _encode, [text], start=START, window=32) for text in texts]
    assert together.nats == pytest.approx(sum(each.nats for each in apart), abs=1e-4)
    assert together.tokens == sum(each.tokens for each in apart)
    monkeypatch.setattr(bits, "BATCH_TOKENS", 1)
    monkeypatch.setattr(bits, "VOCABULARY_CHUNK", 3)
    ticks: list[int] = []
    single = bits_per_byte(
        model, _encode, texts, start=START, window=32, tick=lambda: ticks.append(1)
    )
    assert single.nats == pytest.approx(together.nats, abs=1e-4)
    assert len(ticks) == 3 + 3


def test_the_model_is_left_as_it_was() -> None:
    model = random_llama()
    model.set_attn_implementation("eager")
    model.train()
    bits_per_byte(model, _encode, ["text"], start=START)
    assert model.config._attn_implementation == "eager"
    assert model.training


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_text(texts: list[str]) -> None:
    with pytest.raises(BadInput, match="no held-out text"):
        bits_per_byte(random_llama(), _encode, texts, start=START)


def test_a_window_of_one_token_is_refused() -> None:
    with pytest.raises(BadInput, match="window: 1 is too small; the smallest is 2"):
        bits_per_byte(random_llama(), _encode, ["text"], start=START, window=1)


@given(
    texts=st.lists(st.text(alphabet="aé中😀", max_size=80), max_size=40),
    limit=st.integers(5, 400),
    pieces=st.integers(1, 30),
)
@settings(max_examples=150, deadline=None)
def test_excerpts_are_starts_of_texts_within_the_budget(
    texts: list[str], limit: int, pieces: int
) -> None:
    found = excerpts(texts, limit, pieces)
    assert sum(len(piece.encode()) for piece in found) <= limit
    rest = iter(texts)
    for piece in found:
        assert piece
        assert 0 < len(piece.encode()) <= max(1, limit // pieces)
        assert any(text.startswith(piece) for text in rest)


def test_excerpts_by_hand() -> None:
    assert excerpts(["中文字", "abcdef", "later"], 10, pieces=2) == ["中", "abcde"]
    assert excerpts(["a" * 100] * 30, 48, pieces=24) == ["aa"] * 22


def test_each_text_is_charged_what_it_costs_alone() -> None:
    model = random_llama()
    texts = ["好" * 40, "", "abc", "a longer text in the middle of it all"]
    found = bits_of_each(model, _encode, texts, start=START, window=16)
    assert (found[1].nats, found[1].tokens, found[1].bytes) == (0.0, 0, 0)
    for text, spent in zip(texts, found, strict=True):
        if text:
            alone = bits_per_byte(model, _encode, [text], start=START, window=16)
            assert spent.nats == pytest.approx(alone.nats, rel=1e-5)
            assert (spent.tokens, spent.bytes) == (alone.tokens, alone.bytes)
