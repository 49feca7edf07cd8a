"""Write the extended tokenizer: base ids untouched, new pieces after them, every file kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_atomic, write_json
from langraft.core.messages import warn
from langraft.tokenizer.alphabet import split_partial, to_symbols
from langraft.tokenizer.encoder import BYTE_LEVEL, Encoder, load_encoder
from langraft.tokenizer.learn import learn
from langraft.tokenizer.pruning import Learned
from langraft.tokenizer.runs import read_corpus
from langraft.tokenizer.scripts import read_scripts
from langraft.tokenizer.sentencepiece_model import (
    CONTROL,
    SPACE,
    UNUSED,
    USER_DEFINED,
    append_pieces,
    splits,
)

CARRIED = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
)
PLAIN_CLASS = "PreTrainedTokenizerFast"


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a learned piece may be.

    Attributes:
        scripts: Unicode script names; only their characters are joined.
        mixed: whether Latin letters and digits may be joined to those characters.
        min_frequency: fewest occurrences in the text of a merge.
        max_piece_characters: most characters in a piece.
    """

    scripts: tuple[str, ...]
    mixed: bool = False
    min_frequency: int = 2
    max_piece_characters: int = 16

    def __post_init__(self) -> None:
        for name in ("min_frequency", "max_piece_characters"):
            _at_least_one(name, getattr(self, name))


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise BadInput(f"{name}: {value} is too small; the smallest is 1")


def extend_tokenizer(
    base: Path,
    texts: Iterable[str],
    *,
    size: int,
    rules: Rules,
    out: Path,
    pad_token: str | None = None,
) -> dict[str, Any]:
    """Learn `size` pieces from `texts` on top of the tokenizer in `base`; write all to `out`.

    Args:
        base: model folder, or a tokenizer file.
        texts: documents in the new language.
        size: pieces to add; fewer are added, with a warning, when the text does not hold as
            many.
        rules: what a piece may be.
        out: folder to write into; made when absent.
        pad_token: a padding token to add in front of the pieces, unless the base has it.

    Returns:
        What `added` says, and: least_frequent (tokens saved by the rarest merge), characters,
        scaffolds (pieces that are not whole characters), unused_pieces (kept only because others
        are made of them), pruned_pieces.

    Raises:
        BadInput: the base is not BPE, a script is unknown, or a number is out of range.
    """
    _at_least_one("size", size)
    encoder = open_base(base, out, pad_token)
    corpus = read_corpus(encoder, texts, read_scripts(rules.scripts, mixed=rules.mixed))
    learned = learn(
        corpus,
        size=size,
        min_frequency=rules.min_frequency,
        max_piece_characters=rules.max_piece_characters,
    )
    if len(learned.pieces) < size:
        warn(
            f"{len(learned.pieces)} pieces instead of {size}: the text holds no more that occur "
            f"{rules.min_frequency} times or more. Give more text, or lower min_frequency"
        )
    write_extended(encoder, learned, out, pad_token)
    return added(encoder, learned) | {
        "least_frequent": learned.least_frequent,
        "characters": corpus.characters,
        "scaffolds": sum(_is_partial(piece) for piece in learned.pieces),
        "unused_pieces": sum(1 for piece in learned.pieces if not learned.uses[piece]),
        "pruned_pieces": learned.pruned,
    }


def open_base(base: Path, out: Path, pad_token: str | None = None) -> Encoder:
    """The base to extend into `out`, with `pad_token` behind its pieces where it has none such.

    Raises:
        BadInput: not a BPE tokenizer, or `out` is its own folder.
    """
    if out.exists() and base.exists() and out.resolve() in (base.resolve(), base.resolve().parent):
        raise BadInput(f"{out}: is the folder of the base; write the extended tokenizer elsewhere")
    encoder = load_encoder(base)
    return encoder if pad_token is None else with_special_token(encoder, pad_token)


def with_special_token(base: Encoder, text: str) -> Encoder:
    """The tokenizer with one more special token at its end, or as it is when it has that token."""
    if text in base.vocabulary:
        return base
    token = {"id": base.size, "content": text, "special": True, "normalized": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    tokens = [*base.definition["added_tokens"], token | flags]
    return dataclasses.replace(base, definition=base.definition | {"added_tokens": tokens})


def added(base: Encoder, learned: Learned) -> dict[str, Any]:
    """base_pieces, added_pieces, family."""
    return {
        "base_pieces": base.size,
        "added_pieces": len(learned.pieces),
        "family": base.family,
    }


def _is_partial(piece: bytes) -> bool:
    parts = split_partial(piece)
    return parts is None or bool(parts[1])


def write_extended(
    base: Encoder, learned: Learned, out: Path, pad_token: str | None = None
) -> None:
    """Write every tokenizer file of the base to `out`, new pieces behind the highest id in use."""
    out.mkdir(parents=True, exist_ok=True)
    source = base.path if base.path.is_dir() else base.path.parent
    _carry(source, out)
    definition = extended_definition(base, learned)
    write_atomic(out / "tokenizer.json", json.dumps(definition, ensure_ascii=False))
    if base.model is not None:
        write_atomic(out / "tokenizer.model", _extended_model(base, learned))
    _write_config(source, base, out, pad_token)
    _write_lists(source, definition, out)


def _carry(source: Path, out: Path) -> None:
    for name in CARRIED:
        path = source / name
        if path.is_dir():
            shutil.copytree(path, out / name, dirs_exist_ok=True)
        elif path.exists():
            shutil.copyfile(path, out / name)


def extended_definition(base: Encoder, learned: Learned) -> dict[str, Any]:
    """The base's `tokenizer.json` with the new pieces and, behind all base merges, the new merges.

    Added tokens are entered into the vocabulary too: `tokenizers` numbers those that are missing
    there by the vocabulary's length, which would move Llama-3's special tokens behind the new
    pieces.
    """
    model = dict(base.definition["model"])
    vocabulary = dict(model["vocab"]) | {text: index for index, text in base.added.items()}
    written = [_written(base, piece) for piece in learned.pieces]
    vocabulary |= {piece: base.size + n for n, piece in enumerate(written)}
    pairs = (
        [(_written(base, left), _written(base, right)) for left, right in learned.merges]
        if base.family == BYTE_LEVEL
        else [pair for piece in written for pair in splits(piece, vocabulary)]
    )
    strings = bool(model["merges"]) and isinstance(model["merges"][0], str)
    merges = model["merges"] + [" ".join(pair) if strings else list(pair) for pair in pairs]
    return base.definition | {"model": model | {"vocab": vocabulary, "merges": merges}}


def extended_encoder(base: Encoder, learned: Learned) -> Encoder:
    """The extended tokenizer in memory."""
    definition = extended_definition(base, learned)
    return Encoder(base.path, base.family, definition)


def _written(base: Encoder, piece: bytes) -> str:
    return to_symbols(piece) if base.family == BYTE_LEVEL else piece.decode().replace(" ", SPACE)


def _extended_model(base: Encoder, learned: Learned) -> bytes:
    model = type(base.model)()
    model.CopyFrom(base.model)
    fillers = []
    for index in range(len(model.pieces), base.size):
        kind = (
            CONTROL
            if index in base.special_ids
            else USER_DEFINED
            if index in base.added
            else UNUSED
        )
        fillers.append((base.added.get(index, f"<unused_{index}>"), kind))
    append_pieces(model, fillers, [_written(base, piece) for piece in learned.pieces])
    return bytes(model.SerializeToString())


def _write_config(source: Path, base: Encoder, out: Path, pad_token: str | None) -> None:
    """Name a class that takes `tokenizer.json` as it is: `LlamaTokenizer` does not."""
    path = source / "tokenizer_config.json"
    config = dict(read_json(path)) if path.exists() else _config_of(base)
    if config.get("tokenizer_class") != "TokenizersBackend":
        config["tokenizer_class"] = PLAIN_CLASS
    if pad_token is not None:
        config["pad_token"] = pad_token
    for key in ("auto_map", "legacy", "sp_model_kwargs"):
        config.pop(key, None)
    write_json(out / "tokenizer_config.json", config)


def _config_of(base: Encoder) -> dict[str, Any]:
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return {key: token for key, token in named.items() if token in base.vocabulary} | {
        "clean_up_tokenization_spaces": False
    }


def _write_lists(source: Path, definition: dict[str, Any], out: Path) -> None:
    """GPT-2's `vocab.json` and `merges.txt`, where the base has them, with the new pieces."""
    if (source / "vocab.json").exists():
        write_atomic(
            out / "vocab.json", json.dumps(definition["model"]["vocab"], ensure_ascii=False)
        )
    if (source / "merges.txt").exists():
        lines = [
            pair if isinstance(pair, str) else " ".join(pair)
            for pair in definition["model"]["merges"]
        ]
        write_atomic(out / "merges.txt", "#version: 0.2\n" + "\n".join(lines) + "\n")
