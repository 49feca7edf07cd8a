"""The verbs of the corpus."""

from __future__ import annotations

from pathlib import Path

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
def corpus_inspect(folder: Path, json_: Json = False) -> None:
    """Show what a corpus folder holds: counts step by step, and samples.

    Example: `langraft corpus inspect runs/quickstart-zh/corpus`
    """
    from rich.console import Console

    from langraft.corpus.inspect import inspect_corpus, show_corpus

    found = inspect_corpus(folder)
    Console().print(show_corpus(found))
    answer(found, json_)
