"""Small tokenizers of both families with everything that chat templates need."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from tokenizer_bases import byte_level_base
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

MORE = (
    "<s>",
    "</s>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)


@functools.cache
def byte_level_tokenizer() -> Any:
    """GPT-2's kind, with every template's special tokens."""
    with tempfile.TemporaryDirectory() as folder:
        byte_level_base(Path(folder), "gpt2")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": list(MORE[2:])}
    )
    return tokenizer


@functools.cache
def llama_tokenizer() -> Any:
    """LLaMA-2's kind: characters and bytes, a dummy prefix behind every special token."""
    specials = ["<unk>", "<s>", "</s>"]
    pieces = [*specials, *(f"<0x{n:02X}>" for n in range(256)), "▁", *map(chr, range(33, 127))]
    vocabulary = {piece: n for n, piece in enumerate(dict.fromkeys([*pieces, "▁[", "你", "好"]))}
    engine = Tokenizer(
        models.BPE(vocabulary, [("▁", "[")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    engine.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    engine.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *MORE[2:]]}
    )
    return tokenizer
