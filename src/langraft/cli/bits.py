"""The verb that measures bits per byte: of a text, of each file, by position in the context."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langraft.cli.options import Json, Texts, answer, texts_of
from langraft.core.messages import console, say, table

if TYPE_CHECKING:
    from langraft.train.precision import Device

__all__ = ["eval_bits"]


def eval_bits(
    model: str,
    text: Texts,
    window: Annotated[int, typer.Option(help="tokens the model sees at a time")] = 512,
    max_bytes: Annotated[int, typer.Option(help="score at most so many UTF-8 bytes")] = 1_000_000,
    by_source: Annotated[bool, typer.Option(help="each file on its own")] = False,
    positions: Annotated[
        bool, typer.Option("--positions", help="by position in a context of --window tokens")
    ] = False,
    spans: Annotated[int, typer.Option(help="with --positions: lines of the table")] = 8,
    texts: Annotated[int, typer.Option(help="with --positions: contexts that are read")] = 8,
    json_: Json = False,
) -> None:
    """Bits per UTF-8 byte, comparable across tokenizers; every byte is scored once.

    With `--positions` documents of at least `--window` tokens are read whole, and the bits are told
    apart by where in the context a token stands.

    Example: `langraft eval bits runs/quickstart-zh/pretrain-adapt --text zh.jsonl.zst --max-bytes
    50000`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.checkpoint.folder import load_model, load_tokenizer
    from langraft.data.frame import document_frame
    from langraft.evals.bits import bits_per_byte, excerpts
    from langraft.tokenizer.encoder import load_encoder
    from langraft.train.precision import choose_device

    folder, device = resolve_base(model, Path()), choose_device("auto", "auto")
    if positions:
        answer(_by_position(folder, text, device, (window, spans, texts)), json_)
        return
    loaded = load_model(folder).to(device.name)
    encoder, frame = load_encoder(folder), document_frame(load_tokenizer(folder))
    found = {}
    for name, patterns in _sources(text, by_source).items():
        score = bits_per_byte(
            loaded,
            encoder.encode_batch,
            excerpts(texts_of(patterns), max_bytes),
            start=frame.start,
            window=window,
            autocast=device.bf16,
        )
        say(
            f"{name}{score.per_byte:.4f} bits per byte  ({score.bytes:,} bytes, {score.tokens:,} "
            f"tokens, perplexity {score.perplexity:.2f} per token of this tokenizer)"
        )
        found[name] = {
            "bits_per_byte": score.per_byte,
            "bytes": score.bytes,
            "tokens": score.tokens,
            "perplexity": score.perplexity,
        }
    answer({"sources": found} if by_source else next(iter(found.values())), json_)


def _sources(patterns: list[str], apart: bool) -> dict[str, list[str]]:
    """The files to score together, by what to write before their score."""
    if not apart:
        return {"": patterns}
    from langraft.corpus.readers import expand

    return {f"{path}: ": [str(path)] for path in expand(patterns, Path())}


def _by_position(
    folder: Path, patterns: list[str], device: Device, sizes: tuple[int, int, int]
) -> dict[str, Any]:
    """Print and return the table of `--positions`; `sizes` are window, spans and texts."""
    from langraft.checkpoint.folder import load_model, load_tokenizer
    from langraft.data.frame import document_frame
    from langraft.evals.positions import bits_by_position, edges, stretches
    from langraft.tokenizer.encoder import load_encoder

    window, spans, texts = sizes
    bounds, encoder = edges(window, spans), load_encoder(folder)
    encoded = encoder.encode_batch(texts_of(patterns))
    start = document_frame(load_tokenizer(folder)).start
    read = stretches(encoded, start, window, texts)
    model = load_model(folder).to(device.name)
    lengths = encoder.byte_lengths.tolist()
    found = bits_by_position(model, read, lengths, bounds, autocast=device.bf16)
    rows = [(f"{s.first:,} to {s.last - 1:,}", f"{s.per_byte:.4f}", f"{s.bytes:,}") for s in found]
    console.print(table(f"{len(read)} texts", ["positions", "bits per byte", "bytes"], rows))
    spelt = [{"first": s.first, "last": s.last, "bits_per_byte": s.per_byte} for s in found]
    return {"texts": len(read), "positions": spelt}
