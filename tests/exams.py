"""A small model with a real tokenizer, and exams to ask it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from random_llama import random_llama
from tokenizer_bases import byte_level_base, sentencepiece_base
from transformers import LlamaForCausalLM, LlamaTokenizer, PreTrainedTokenizerBase

from langraft.checkpoint.folder import load_tokenizer
from langraft.evals.suite import Reader
from langraft.evals.suites import Exam, Question, Subject

WINDOW = 512


@functools.cache
def tokenizer(style: str = "gpt2") -> PreTrainedTokenizerBase:
    """A byte-level or a SentencePiece tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        if style == "sentencepiece":
            sentencepiece_base(Path(folder))
            return LlamaTokenizer.from_pretrained(folder)
        return load_tokenizer(byte_level_base(Path(folder), style))


def reader(model: LlamaForCausalLM | None = None, *, window: int = WINDOW) -> Reader:
    """A random model that reads and writes the byte-level tokenizer's ids."""
    spoken = tokenizer()
    return Reader(model or random_llama(len(spoken)), spoken, window, "a random model")


def always(letter: str) -> LlamaForCausalLM:
    """A model whose most likely next token is always `letter`, with a blank before it or not: its
    hidden states are all ones, and only the letter's output rows are not zero.
    """
    model = random_llama(len(tokenizer()))
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(1.0)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for text in (letter, f" {letter}"):
            ids = tokenizer()(text, add_special_tokens=False)["input_ids"]
            model.lm_head.weight[ids[-1]] = 1.0
    return model


def question(number: int, answer: str = "B") -> Question:
    """A question that no other number asks."""
    options = tuple(f"{number * 7 + n} days" for n in range(4))
    return Question(f"How long is journey {number}?", "ABCD", options, answers=(answer,))


def exam(
    count: int = 6, *, suite: str = "mmlu", shots: int = 2, subjects: tuple[str, ...] = ("anatomy",)
) -> Exam:
    """Subjects of `count` questions whose right letters go round from A to D."""
    found = tuple(
        Subject(
            key,
            [question(10 * at + n, "ABCD"[n % 4]) for n in range(count)],
            [question(1000 + n, "DCBA"[n % 4]) for n in range(shots)],
        )
        for at, key in enumerate(subjects)
    )
    return Exam(suite, "test", found, shots, None)
