"""The verbs of the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, Out, Texts, answer, texts_of
from langraft.core.messages import console, say, table

app = typer.Typer(help="Extend a tokenizer and prove it.", no_args_is_help=True)


@app.command("extend")
def tokenizer_extend(
    base: Annotated[str, typer.Argument(help="model folder, tokenizer file, named base or hub id")],
    text: Texts,
    out: Out,
    size: Annotated[int, typer.Option(help="pieces to add")] = 1_600,
    script: Annotated[
        list[str] | None, typer.Option(help="Unicode script of the new language")
    ] = None,
    min_frequency: Annotated[int, typer.Option(help="rarest piece worth a row")] = 2,
    json_: Json = False,
) -> None:
    """Add pieces of a new script to a tokenizer by continued BPE; the old language is encoded as
    before.

    Example: `langraft tokenizer extend smollm2-135m --text zh.jsonl.zst --size 1600 --script Han
    --out extended`
    """
    from langraft.tokenizer.extend import Rules, extend_tokenizer

    found = extend_tokenizer(
        tokenizer_path(base),
        texts_of(text),
        size=size,
        rules=Rules(tuple(script or ["Han"]), min_frequency=min_frequency),
        out=out,
    )
    say(f"added {found['added_pieces']:,} pieces to {found['base_pieces']:,}: {out}")
    answer(found, json_)


def tokenizer_path(base: str) -> Path:
    """A tokenizer file as it is; anything else is a base model, and its folder is returned."""
    if Path(base).exists() and (Path(base).is_dir() or not base.endswith(".gguf")):
        return Path(base)
    from langraft.checkpoint.bases import resolve_base

    return resolve_base(base, Path())


@app.command("check")
def tokenizer_check(
    base: str,
    extended: Path,
    old: Texts,
    new: Annotated[
        list[str] | None, typer.Option(help="new-language text for the round trip")
    ] = None,
    json_: Json = False,
) -> None:
    """Prove the tokenizer contract; exit 1 with a counter-example when it does not hold.

    Example: `langraft tokenizer check smollm2-135m extended --old en.jsonl.zst --new zh.jsonl.zst`
    """
    import dataclasses

    from langraft.core.errors import RunFailed
    from langraft.tokenizer.check import check_tokenizer

    lines = [line for text in texts_of(old) for line in text.split("\n") if line]
    proofs = check_tokenizer(tokenizer_path(base), extended, lines, texts_of(new or []))
    rows = [(p.name, "holds" if p.passed else "FAILS", f"{p.checked:,}") for p in proofs]
    console.print(table("tokenizer contract", ("proof", "", "checked"), rows))
    answer({"proofs": [dataclasses.asdict(p) for p in proofs]}, json_)
    failed = [p for p in proofs if not p.passed]
    if failed:
        raise RunFailed(f"{failed[0].name}: counter-example {failed[0].counterexample!r}")


@app.command("compare")
def tokenizer_compare(tokenizers: list[str], text: Texts, json_: Json = False) -> None:
    """Compare tokenizers on the same text: tokens per character and per byte.

    Example: `langraft tokenizer compare smollm2-135m extended --text zh.jsonl.zst`
    """
    from langraft.tokenizer.compare import compare

    rows = compare([tokenizer_path(t) for t in tokenizers], texts_of(text))
    keys = ("tokens", "tokens_per_character", "tokens_per_byte")
    cells = [
        (name, *(row[key] for key in keys)) for name, row in zip(tokenizers, rows, strict=True)
    ]
    console.print(table("tokenizers", ("tokenizer", *keys), cells))
    answer({"tokenizers": rows}, json_)
