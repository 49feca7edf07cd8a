"""Which special tokens stand around a document."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from langraft.core.errors import BadInput
from langraft.data.shards import Frame

SEPARATOR = "<|endoftext|>"


def document_frame(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """The tokens before and after each document in pretraining and evaluation.

    Models trained with `<|endoftext|>` between documents (GPT-2's custom: SmolLM2, Qwen) get it on
    both sides; their `bos`, if
    any, belongs to the chat template. All others get their `bos` before and their `eos` after.

    Raises:
        BadInput: the tokenizer has neither.
    """
    separator = tokenizer.convert_tokens_to_ids(SEPARATOR)
    if separator is not None and separator in tokenizer.all_special_ids + list(
        tokenizer.added_tokens_decoder
    ):
        return Frame(separator, separator)
    if tokenizer.eos_token_id is None:
        raise BadInput(f"{tokenizer.name_or_path}: the tokenizer names no end-of-text token")
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return Frame(start, tokenizer.eos_token_id)
