"""Packed rows give what each document gives alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_llama import CPU, documents_of, random_llama
from transformers import LlamaForCausalLM

from langraft.data.pack import Batch, assemble
from langraft.train import attention
from langraft.train.objectives import next_token_loss, packed_hidden

LENGTHS = [7, 1, 12, 30, 3]


@pytest.fixture
def batch() -> Batch:
    generator = np.random.default_rng(1)
    return assemble([[generator.integers(0, 64, length) for length in LENGTHS]])


def _alone(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return torch.cat([model(ids).logits[0] for ids in documents_of(batch)])


def _packed(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    model.set_attn_implementation(attention.register())
    with torch.no_grad():
        return packed_hidden(model, batch, CPU) @ model.get_output_embeddings().weight.T


@pytest.mark.parametrize("tied", [False, True])
def test_packed_logits_are_those_of_each_document_alone(batch: Batch, tied: bool) -> None:
    model = random_llama(tied=tied)
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    torch.testing.assert_close(_packed(model, batch), _alone(model, batch), atol=1e-5, rtol=1e-5)


def test_packed_gradients_are_those_of_each_document_alone(batch: Batch) -> None:
    packed, alone = random_llama(), random_llama()
    packed.set_attn_implementation(attention.register())
    next_token_loss(packed, batch, CPU).backward()
    for ids in documents_of(batch):
        if ids.shape[1] > 1:
            (alone(ids, labels=ids).loss * (ids.shape[1] - 1)).backward()
    for (name, mine), theirs in zip(packed.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_embedded_rows_take_the_place_of_ids(batch: Batch) -> None:
    model = random_llama()
    model.set_attn_implementation(attention.register())
    embedded = model.get_input_embeddings()(torch.as_tensor(batch.input_ids))
    with torch.no_grad():
        assert torch.equal(
            packed_hidden(model, batch, CPU, embedded), packed_hidden(model, batch, CPU)
        )


def test_a_mask_of_ones_would_look_across_documents(batch: Batch) -> None:
    """The trap that `packed` avoids: transformers finds the documents only without a mask."""
    model = random_llama()
    alone = _alone(model, batch)
    model.set_attn_implementation("sdpa")
    ids = torch.as_tensor(batch.input_ids)[None]
    places = {"position_ids": torch.as_tensor(batch.position_ids)[None], "use_cache": False}
    with torch.no_grad():
        masked = model(ids, attention_mask=torch.ones_like(ids), **places).logits[0]
    first = LENGTHS[0]
    torch.testing.assert_close(masked[:first], alone[:first], atol=1e-5, rtol=1e-5)
    assert (masked[first:] - alone[first:]).abs().max() > 1e-2


def test_a_mask_is_refused_by_the_attention_itself() -> None:
    tensor = torch.zeros(1, 2, 3, 4)
    with pytest.raises(AssertionError, match="no attention mask"):
        attention.packed_attention(
            torch.nn.Identity(),
            tensor,
            tensor,
            tensor,
            torch.ones(1, 3),
            scaling=1.0,
            cu_seq_lens_q=torch.tensor([0, 3]),
            max_length_q=3,
        )
