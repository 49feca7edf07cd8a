"""Bits per byte by position."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_llama import random_llama

from langraft.core.errors import BadInput
from langraft.evals.positions import bits_by_position, edges, stretches


@given(st.integers(2, 500), st.integers(1, 40))
def test_spans_cover_every_position_once(length: int, spans: int) -> None:
    if spans >= length:
        with pytest.raises(BadInput, match="cannot be cut"):
            edges(length, spans)
        return
    found = edges(length, spans)
    assert (found[0], found[-1], len(found)) == (1, length, spans + 1)
    assert all(a <= b for a, b in itertools.pairwise(found))


def test_stretches_take_turns() -> None:
    found = stretches([[1, 2, 3, 4, 5], [6], [7, 8, 9]], start=0, length=3, most=3)
    assert found == [[0, 1, 2], [0, 7, 8], [0, 3, 4]]
    with pytest.raises(BadInput, match="no document has 9 tokens"):
        stretches([[1, 2]], start=0, length=10, most=1)


def test_spans_by_hand() -> None:
    """Against the log-softmax of transformers' own logits."""
    model = random_llama(vocab=20)
    texts = [[0, 3, 5, 7, 2, 9], [0, 1, 19, 4, 4, 8]]
    sizes = [index + 1 for index in range(20)]
    spans = bits_by_position(model, texts, sizes, [1, 3, 6])
    ids = torch.tensor(texts)
    with torch.no_grad():
        logs = model(ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    for span, columns in zip(spans, (slice(0, 2), slice(2, 5)), strict=True):
        size = sum(sizes[i] for row in texts for i in row[1:][columns])
        assert span.bytes == size
        wanted = -float(logs[:, columns].sum()) / math.log(2) / size
        assert span.per_byte == pytest.approx(wanted, rel=1e-4)


def test_no_bytes_no_number() -> None:
    """An empty span is no number, not a zero."""
    model = random_llama(vocab=20)
    found = bits_by_position(model, [[0, 1, 2]], [0] * 20, [1, 3])
    assert math.isnan(found[0].per_byte)
