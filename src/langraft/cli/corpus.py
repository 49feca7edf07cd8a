"""The verbs of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, Out, RecipePath, Set, Texts, answer, texts_of
from langraft.core.messages import say

app = typer.Typer(help="Raw text to clean documents.", no_args_is_help=True)


@app.command("build")
def corpus_build(recipe: RecipePath, out: Out, set_: Set = None, json_: Json = False) -> None:
    """Read, clean, filter, deduplicate and split the recipe's sources, and write a page of it.

    Example: `langraft corpus build recipes/quickstart-zh.yaml --out corpus`
    """
    from langraft.core.errors import BadInput
    from langraft.core.manifest import MANIFEST, run_stage
    from langraft.corpus.build import build_stage
    from langraft.corpus.evaluate import GLANCE, evaluate_corpus
    from langraft.recipe import load_recipe, needs
    from langraft.report.corpus import PAGE, write_corpus_page

    loaded = load_recipe(recipe, set_ or [])
    needs(loaded, "corpus", "language")
    assert loaded.corpus is not None
    assert loaded.language is not None
    if out.exists() and not (out / MANIFEST).exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: exists and holds no corpus; choose another --out or remove it")
    counter = None
    if loaded.corpus.buckets.shares and loaded.base is not None:
        from langraft.checkpoint.bases import resolve_base

        counter = _counter(resolve_base(loaded.base, recipe.resolve().parent))
    stage = build_stage(
        loaded.corpus,
        loaded.language.code,
        recipe.resolve().parent,
        out.name,
        cluster=loaded.hardware.cluster,
        count_tokens=counter,
    )
    built = run_stage(out.resolve().parent, stage)["results"]
    page = write_corpus_page(evaluate_corpus(out, counter, GLANCE), out / PAGE)
    say(f"corpus: {out}   page: {page}   more: langraft corpus inspect {out}")
    answer(built, json_)


@app.command("thresholds")
def corpus_thresholds(
    text: Texts,
    script: Annotated[list[str] | None, typer.Option(help="scripts of the language")] = None,
    english: Annotated[
        list[str] | None, typer.Option(help="clean English text, to carry its table over")
    ] = None,
    tail: Annotated[float, typer.Option(help="share of clean documents a rule may drop")] = 0.01,
    json_: Json = False,
) -> None:
    """Derive the rules' thresholds for a language from a clean sample of it, as FineWeb-2 does.

    Example: `langraft corpus thresholds --text wiki-sw.jsonl.zst --script Latin`
    """
    from rich.console import Console

    from langraft.corpus.derive import derive, show

    found = derive(texts_of(text), tuple(script or ()), texts_of(english or []), tail)
    Console().print(show(found))
    answer(found, json_)


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
