"""Small bases of both families, trained on the quickstart's English in about a second each."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from langraft.core.io import open_binary
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer

QUICKSTART = Path(__file__).resolve().parent.parent / "data" / "quickstart"
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@functools.cache
def documents(language: str) -> list[str]:
    """The quickstart's texts in "zh" or "en"."""
    with open_binary(QUICKSTART / f"{language}.jsonl.zst") as stream:
        return [json.loads(line)["text"] for line in stream]


def lines(language: str, count: int) -> list[str]:
    """The first `count` lines that are not empty."""
    found = (line for text in documents(language) for line in text.splitlines() if line.strip())
    return [line for line, _ in zip(found, range(count), strict=False)]


def english_sample() -> list[str]:
    """Every fifth English document: enough to train a small base on."""
    return documents("en")[::5]


def train_texts() -> list[str]:
    """Chinese documents to learn from, all kinds."""
    return [text for n, text in enumerate(documents("zh")) if n % 10 and n % 3 == 0]


def held_out() -> list[str]:
    """Chinese documents never learnt from."""
    return documents("zh")[::10]


def byte_level_base(folder: Path, style: str) -> Path:
    """A byte-level base with special tokens and a chat template.

    Args:
        style: "gpt2" (digits apart, special tokens inside the vocabulary) or "llama3" (split by a
            regular expression, `ignore_merges`, special tokens above the vocabulary and missing
            from it, merges written as strings, as older files are).
    """
    engine = tokenizers.Tokenizer(models.BPE(ignore_merges=style == "llama3"))
    if style == "gpt2":
        stages = [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    else:
        stages = [
            pre_tokenizers.Split(tokenizers.Regex(LLAMA3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    engine.pre_tokenizer = pre_tokenizers.Sequence(stages)
    engine.decoder = decoders.ByteLevel()
    engine.post_processor = processors.ByteLevel(trim_offsets=False)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=2500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special if style == "gpt2" else [],
        show_progress=False,
    )
    engine.train_from_iterator(english_sample(), trainer)
    if style == "llama3":
        engine.add_special_tokens(special)
    definition = json.loads(engine.to_str())
    if style == "llama3":
        merges = definition["model"]["merges"]
        definition["model"]["merges"] = [" ".join(pair) for pair in merges]
    _write(folder / "tokenizer.json", definition)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "bos_token": "<|im_start|>",
            "pad_token": "<|im_end|>",
        },
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


def sentencepiece_base(folder: Path) -> Path:
    """A bare `tokenizer.model` like LLaMA-2's: BPE, byte fallback, dummy prefix, no normalising."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in english_sample() for line in text.splitlines()]),
        model_writer=written,
        model_type="bpe",
        vocab_size=2500,
        character_coverage=0.9995,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        num_threads=2,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    return folder


def all_bytes_definition() -> dict[str, Any]:
    """The smallest byte-level base: 256 bytes, no merges, nothing split."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine = tokenizers.Tokenizer(
        models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[])
    )
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    return dict(json.loads(engine.to_str()))


STYLES = ("gpt2", "llama3", "sentencepiece")
SIZE = 700


@dataclasses.dataclass(frozen=True, repr=False)
class Extension:
    """A base, its extension by SIZE pieces, and what `extend_tokenizer` said."""

    style: str
    base: Path
    extended: Path
    results: dict[str, Any]
    before: Encoder
    after: Encoder

    def __repr__(self) -> str:
        return f"Extension({self.style!r})"


def extend_quickly(base: Path, out: Path, *, size: int, texts: list[str]) -> dict[str, Any]:
    """Extend by Han pieces of up to four characters."""
    return extend_tokenizer(
        base,
        texts,
        size=size,
        rules=Rules(("Han",), min_frequency=5, max_piece_characters=4),
        out=out,
    )


def make_extension(folder: Path, style: str) -> Extension:
    """Make the base of `style` below `folder` and extend it by SIZE pieces."""
    base, out = folder / "base", folder / "extended"
    base.mkdir()
    if style == "sentencepiece":
        sentencepiece_base(base)
    else:
        byte_level_base(base, style)
    results = extend_quickly(base, out, size=SIZE, texts=train_texts())
    return Extension(style, base, out, results, load_encoder(base), load_encoder(out))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False))
