"""The verbs of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, Out, RecipePath, Set, answer
from langraft.core.messages import say

app = typer.Typer(help="Raw text to clean documents.", no_args_is_help=True)


@app.command("build")
def corpus_build(recipe: RecipePath, out: Out, set_: Set = None, json_: Json = False) -> None:
    """Read, clean, filter, deduplicate and split the recipe's sources.

    Example: `langraft corpus build recipes/quickstart-zh.yaml --out corpus`
    """
    from langraft.corpus.build import build_corpus
    from langraft.recipe import load_recipe, needs

    loaded = load_recipe(recipe, set_ or [])
    needs(loaded, "corpus", "language")
    assert loaded.corpus is not None
    assert loaded.language is not None
    out.mkdir(parents=True, exist_ok=True)
    answer(build_corpus(loaded.corpus, loaded.language.code, recipe.resolve().parent, out), json_)
    say(f"corpus: {out}   look at it with: langraft corpus inspect {out}")


@app.command("inspect")
def corpus_inspect(
    folder: Path,
    tokenizer: Annotated[
        Path | None, typer.Option(help="count tokens with this tokenizer (folder or file)")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="the page to write; corpus.html beside the folder's files")
    ] = None,
    json_: Json = False,
) -> None:
    """Show what a corpus folder holds, and write a page of it: counts step by step, distributions,
    repeated lines, samples.

    Example: `langraft corpus inspect runs/quickstart-zh/corpus --tokenizer BASE`
    """
    from rich.console import Console

    from langraft.corpus.evaluate import evaluate_corpus
    from langraft.corpus.inspect import show_corpus
    from langraft.report.corpus import PAGE, write_corpus_page

    found = evaluate_corpus(folder, _counter(tokenizer) if tokenizer else None)
    Console().print(show_corpus(found))
    say(f"page: {write_corpus_page(found, page or folder / PAGE)}")
    answer(found, json_)


def _counter(path: Path) -> Callable[[Sequence[str]], Sequence[int]]:
    """How many tokens each text has under a tokenizer, special tokens not counted."""
    from langraft.tokenizer.encoder import load_encoder

    encoder = load_encoder(path)
    return lambda texts: [len(ids) for ids in encoder.encode_batch(texts)]
