"""Rows read on a shared prefix give what rows read whole give."""

from __future__ import annotations

import math

import pytest
import torch
from random_llama import random_llama
from transformers import MistralConfig, MistralForCausalLM

from langraft.evals.prefix import (
    Layout,
    attend,
    opinions,
    read_padded,
    read_prefix,
    read_rows,
    shares_prefix,
)
from langraft.evals.rows import Ask, Row


def rows(prefix: list[int], lengths: list[int]) -> list[Row]:
    found = []
    for number, length in enumerate(lengths):
        own = torch.randint(0, 64, (length,), generator=torch.manual_seed(number)).tolist()
        last = len(prefix) + length - 1
        asks = (Ask(last, 5, 0), Ask(last, 9, 1), Ask(len(prefix), 3, 2))
        found.append(Row(number, (*prefix, *own), asks))
    return found


@pytest.mark.parametrize("likelihood", [True, False])
def test_shared_and_whole_agree_and_are_the_models_own(likelihood: bool) -> None:
    model = random_llama()
    prefix = torch.randint(0, 64, (37,), generator=torch.manual_seed(99)).tolist()
    asked = rows(prefix, [1, 5, 12, 3])
    shared = read_rows(model, asked, len(prefix), read_prefix(model, prefix))
    whole = read_padded(model, asked)
    alone = read_rows(model, asked, 0, None)
    for one, other in zip(alone, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)
    found = opinions(model, asked, shared, likelihood)
    torch.testing.assert_close(
        torch.tensor(found), torch.tensor(opinions(model, asked, whole, likelihood)),
        rtol=0, atol=2e-5,
    )  # fmt: skip
    for row, values in zip(asked, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([row.ids])).logits[0].double()
        table = logits.log_softmax(-1) if likelihood else logits
        for ask, value in zip(row.asks, values, strict=True):
            assert value == pytest.approx(float(table[ask.at, ask.token]), abs=2e-5)


def test_the_attention_of_the_model_is_put_back() -> None:
    model = random_llama().train()
    before = model.config._attn_implementation
    read_rows(model, rows([1] * 9, [3]), 9, read_prefix(model, [1] * 9))
    assert model.config._attn_implementation == before
    assert model.training


def test_rows_are_laid_apart_and_together_again() -> None:
    whole = torch.arange(2 * 6.0).view(1, 2, 6, 1)
    layout = Layout.of([1, 3, 2], torch.device("cpu"))
    apart = layout.apart(whole)
    assert apart.shape == (3, 2, 3, 1)
    assert apart[1, 0, :, 0].tolist() == [1, 2, 3]
    assert apart[2, 1, :2, 0].tolist() == [10, 11]
    assert torch.equal(layout.together(apart), whole)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_returns_the_log_sum_of_its_scores(causal: bool) -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 3, 11, 8) for _ in range(3))
    out, log_sum = attend(query, key, value, 0.4, causal)
    scores = (query.double() @ key.double().transpose(-1, -2)) * 0.4
    if causal:
        scores.masked_fill_(torch.ones(11, 11, dtype=torch.bool).triu(1), -math.inf)
    torch.testing.assert_close(log_sum.double(), scores.logsumexp(-1), rtol=0, atol=1e-5)
    expected = scores.softmax(-1) @ value.double()
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)


def test_a_sliding_window_is_read_whole() -> None:
    assert shares_prefix(random_llama())
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    narrow = MistralForCausalLM(MistralConfig(**size, **heads, sliding_window=4))
    wide = MistralForCausalLM(MistralConfig(**size, **heads, sliding_window=None))
    assert not shares_prefix(narrow)
    assert shares_prefix(wide)
