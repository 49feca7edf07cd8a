"""A byte tokenizer and a tiny random Llama folder to chat with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'forbidden' %}{{ raise_exception('no') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer, by default without merges: every character beyond ASCII is cut into
    bytes.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: index for index, piece in enumerate(alphabet)}
    vocabulary |= {"".join(pair): 256 + index for index, pair in enumerate(merges)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")


def save_model(folder: Path, template: str | None, *merges: tuple[str, str], seed: int = 3) -> Path:
    """A tiny random Llama with the byte tokenizer, saved as an ordinary model folder."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258 + len(merges),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=257 + len(merges),
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = byte_tokenizer(*merges)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def greedy_by_hand(model: Any, tokenizer: Any, prompt: str, count: int) -> str:
    """The argmax of the full forward pass, token by token, without a cache and without generate."""
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    for _ in range(count):
        with torch.no_grad():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))
