"""What verbs share: the types of their options, and the answer as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

RecipePath = Annotated[Path, typer.Argument(help="the recipe, a YAML file", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="key.key=value, laid over the recipe")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object as the last line")]
Out = Annotated[Path, typer.Option(help="the folder to write", show_default=False)]
Texts = Annotated[list[str], typer.Option(help="text files, folders or globs", show_default=False)]


def answer(result: dict[str, Any], as_json: bool) -> None:
    """Print the result as one JSON line when it was asked for."""
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")


def stream_of(patterns: list[str]) -> Iterator[str]:
    """The same texts one by one, for files too large to hold."""
    from langraft.corpus.readers import expand, read_texts

    for path in expand(patterns, Path()):
        yield from (record.text for record in read_texts(path, "text"))


def texts_of(patterns: list[str]) -> list[str]:
    """The texts of the files that `patterns` name."""
    from langraft.corpus.readers import expand, read_texts

    return [r.text for path in expand(patterns, Path()) for r in read_texts(path, "text")]


def card(folder: Path, base: str, made: str, relation: str = "finetune") -> None:
    """Write the model card of a folder that a verb made of `base`."""
    from langraft.export.card import write_card
    from langraft.pipeline.cards import plain_facts

    write_card(folder, plain_facts(folder, base, made, relation))
