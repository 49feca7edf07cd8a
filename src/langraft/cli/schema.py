"""The verb that gives editors the recipe's schema."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, answer
from langraft.core.io import write_atomic
from langraft.core.messages import say

app = typer.Typer()


@app.command("schema")
def schema_command(
    out: Annotated[Path | None, typer.Option(help="the file to write [stdout]")] = None,
    json_: Json = False,
) -> None:
    """The JSON schema of recipes, with which an editor checks and completes one.

    Example: `langraft schema --out recipe.schema.json`, and as the recipe's first line
    `# yaml-language-server: $schema=recipe.schema.json`
    """
    text = (files("langraft.recipe") / "recipe.schema.json").read_text(encoding="utf-8")
    if out is None:
        sys.stdout.write(text)
        return
    write_atomic(out, text)
    say(f"schema: {out}")
    answer({"schema": str(out)}, json_)
