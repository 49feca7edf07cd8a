"""A model folder in transformers: loaded safely, its text as it comes, the greedy continuation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from langraft.core.errors import BadInput
from langraft.graft.context import one_alpha

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
CONTEXT_TOKENS = 8


class Decoder(Protocol):
    """The part of a tokenizer that turns ids into text."""

    def decode(self, token_ids: Sequence[int], **options: Any) -> str:
        """The text of `token_ids`."""


class TextStream:
    """Ids in, text out as soon as it is certain: a character that is only half there is held back.

    Byte-level tokens cut UTF-8 anywhere, and SentencePiece drops the space of a first token, so
    text is the difference of two decodings that begin at the same earlier token. `after` holds the
    ids of the text that the stream continues.
    """

    def __init__(self, decoder: Decoder, after: Sequence[int] = ()) -> None:
        self._decoder = decoder
        self._ids = list(after[-CONTEXT_TOKENS:])
        self._start = 0
        self._shown = len(self._ids)

    def add(self, token: int) -> str:
        """Take one token and return the text that it completes, often empty."""
        self._ids.append(token)
        text = self._fresh()
        return "" if text.endswith(UNFINISHED) else self._advance(text)

    def end(self) -> str:
        """What is still held back, with U+FFFD where the model left a character unfinished."""
        return self._advance(self._fresh())

    def _advance(self, text: str) -> str:
        if text:
            self._start, self._shown = self._shown, len(self._ids)
        return text

    def _fresh(self) -> str:
        before = self._text(self._ids[self._start : self._shown])
        return self._text(self._ids[self._start :])[len(before) :]

    def _text(self, ids: list[int]) -> str:
        return self._decoder.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


def load(model: Path) -> tuple[Any, Any]:
    """The model and the tokenizer of a local Hugging Face folder, on the GPU when there is one.

    Only safetensors are read, never pickle, and no code from the folder is run.

    Raises:
        BadInput: `model` is not such a folder; the message says what it lacks.
    """
    _check_folder(model)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
        loaded = AutoModelForCausalLM.from_pretrained(
            model, use_safetensors=True, dtype="auto", **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{model}: transformers cannot load this model: {error}") from error
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def _check_folder(model: Path) -> None:
    if not model.is_dir():
        raise BadInput(f"{model}: no such folder; a model is a Hugging Face folder on this machine")
    if not (model / "config.json").is_file():
        raise BadInput(f"{model}: not a model folder, it has no config.json")
    if not any(model.glob("*.safetensors")):
        raise BadInput(f"{model}: has no *.safetensors; weights in other formats are not loaded")
    if not any((model / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise BadInput(f"{model}: has neither tokenizer.json nor tokenizer.model")


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end an answer: the generation config's and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return list(dict.fromkeys(i for i in [*ids, tokenizer.eos_token_id] if i is not None))


def complete(model: Any, tokenizer: Any, prompt: str, max_new_tokens: int) -> str:
    """The greedy continuation of `prompt`, without the prompt.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        prompt: the text to continue; at least one token.
        max_new_tokens: where to stop when the model does not.

    Raises:
        BadInput: the prompt has no token.
    """
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(model.device)
    if ids.shape[1] == 0:
        raise BadInput("the prompt is empty: there is nothing to continue")
    # Our own settings only: what a folder's generation config says of sampling is not mixed in.
    stops = stop_tokens(model, tokenizer)
    padding = tokenizer.pad_token_id
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=stops or None,
        pad_token_id=padding if padding is not None else stops[0] if stops else 0,
        do_sample=False,
    )
    with torch.inference_mode(), one_alpha(model, ids.shape[1] + max_new_tokens):
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
    stream = TextStream(tokenizer, ids[0].tolist())
    new = output[0, ids.shape[1] :].tolist()
    return "".join(stream.add(token) for token in new) + stream.end()
