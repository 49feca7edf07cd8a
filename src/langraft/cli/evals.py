"""The verbs that measure a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, Texts, answer, texts_of
from langraft.core.messages import say

app = typer.Typer(help="Measure a model.", no_args_is_help=True)


@app.command("bits")
def eval_bits(
    model: str,
    text: Texts,
    window: Annotated[int, typer.Option(help="tokens the model sees at a time")] = 512,
    max_bytes: Annotated[int, typer.Option(help="score at most so many UTF-8 bytes")] = 1_000_000,
    json_: Json = False,
) -> None:
    """Bits per UTF-8 byte, comparable across tokenizers; every byte is scored once.

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
    score = bits_per_byte(
        load_model(folder).to(device.name),
        load_encoder(folder).encode_batch,
        excerpts(texts_of(text), max_bytes),
        start=document_frame(load_tokenizer(folder)).start,
        window=window,
        autocast=device.bf16,
    )
    say(f"{score.per_byte:.4f} bits per byte  ({score.bytes:,} bytes, {score.tokens:,} tokens)")
    answer({"bits_per_byte": score.per_byte, "bytes": score.bytes, "tokens": score.tokens}, json_)
