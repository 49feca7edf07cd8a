"""The verbs that give a model new rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, Out, answer
from langraft.core.messages import say

app = typer.Typer()


@app.command("graft")
def graft_command(
    base: str,
    tokenizer: Path,
    out: Out,
    pad_to: Annotated[int, typer.Option()] = 64,
    json_: Json = False,
) -> None:
    """Give a model rows for an extended tokenizer, each the mean of its sub-tokens' rows.

    Rows learnt from the base's hidden states need text: `langraft run` with `graft: {init:
    distil}`.

    Example: `langraft graft smollm2-135m extended --out grafted`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.checkpoint.folder import copy_tokenizer, load_model, save_model
    from langraft.graft.rows import add_rows, padded
    from langraft.tokenizer.encoder import load_encoder
    from langraft.tokenizer.segments import subtokens

    folder = resolve_base(base, Path())
    old, new = load_encoder(folder), load_encoder(tokenizer)
    pieces = subtokens(old, new)
    rows = padded(new.size, pad_to)
    model = add_rows(
        load_model(folder), pieces, first=new.size - len(pieces), rows=rows, untie=False
    )
    save_model(model, out)
    copy_tokenizer(tokenizer, out)
    say(f"grafted {len(pieces):,} rows: {out}")
    answer({"added_rows": len(pieces), "rows": rows, "model": str(out)}, json_)
