"""The small model and the tokenizer of the benchmarks that train beside TRL."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 16_384


def model_9m(**more: Any) -> LlamaForCausalLM:
    """256 wide, 6 blocks, 16,384 ids: 9 M parameters with the tied matrix; always the same ones."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            **more,
        )
    )


def word_tokenizer(*, pad: int, end: int) -> PreTrainedTokenizerFast:
    """Word `w7` is id 7. Special tokens begin no word: they are cut out of the text before it is
    split, so an end called `w1` would cut `w12` in two.
    """
    special = {pad: "<pad>", end: "<end>", 3: "<unknown>"}
    spelling = {special.get(n, f"w{n}"): n for n in range(VOCABULARY)}
    engine = Tokenizer(models.WordLevel(spelling, unk_token=special[3]))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=engine,
        pad_token=special[pad],
        eos_token=special[end],
        unk_token=special[3],
    )
