"""Tiny random Llama models: two layers, four query heads on two key heads, float32."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langraft.data.course import Course, Layout
from langraft.data.pack import Batch, Stream
from langraft.data.shards import Shard
from langraft.train.precision import Device
from langraft.train.stage import Place

torch.set_num_threads(1)  # models this small are slower on two threads, and sums may differ

CPU = Device("cpu", bf16=False)
HERE = Place(CPU)


def random_llama(
    vocab: int = 64, hidden: int = 32, layers: int = 2, *, tied: bool = False, seed: int = 0
) -> LlamaForCausalLM:
    """A model whose attention matters: weights ten times larger than a fresh model's."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def random_shard(lengths: list[int], vocab: int, seed: int = 0) -> Shard:
    """Documents of these lengths with random ids."""
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    generator = np.random.default_rng(seed)
    return Shard(generator.integers(0, vocab, offsets[-1]).astype(np.uint32), offsets)


def course_over(
    shards: dict[str, list[Shard]],
    shares: dict[str, float],
    *,
    rows: int = 8,
    row_tokens: int = 16,
    steps: int = 8,
    seed: int = 5,
    **layout: float,
) -> Course:
    """A course over shards by part of the mix."""

    def bucket(number: int) -> dict[str, Stream]:
        part = (number, int(layout.get("buckets", 1)))
        return {name: Stream(held, seed, part) for name, held in shards.items()}

    return Course(shares, Layout(rows, row_tokens, steps, **layout), bucket)  # type: ignore[arg-type]


def random_course(
    vocab: int = 64, *, rows: int = 8, row_tokens: int = 16, steps: int = 8
) -> Course:
    """One language of uneven documents."""
    shard = random_shard([5, 21, 40, 3, 9, 33, 14], vocab)
    return course_over({"zh": [shard]}, {"zh": 1.0}, rows=rows, row_tokens=row_tokens, steps=steps)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every weight by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def documents_of(batch: Batch) -> list[torch.Tensor]:
    """The pieces of a packed batch, each of shape (1, tokens)."""
    edges = batch.boundaries
    ids = torch.as_tensor(batch.input_ids)
    return [ids[a:b][None] for a, b in itertools.pairwise(edges)]
