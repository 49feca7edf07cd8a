"""Whole runs: run, train, report."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.foreseen import keep_plan
from langraft.cli.options import Json, Out, RecipePath, Set, answer
from langraft.core.messages import say

app = typer.Typer()


@app.command("run")
def run_command(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(help="the run's folder [runs/NAME]")] = None,
    set_: Set = None,
    until: Annotated[str | None, typer.Option(help="the last stage to do")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="forget an earlier run in the folder")
    ] = False,
    twin: Annotated[
        bool, typer.Option("--twin", help="also train the base without extension")
    ] = False,
    json_: Json = False,
) -> None:
    """Do every stage of a recipe that is not done yet, and write the report.

    Example: `langraft run recipes/quickstart-zh.yaml --out runs/quickstart-zh`
    """
    from langraft.recipe import load_recipe

    loaded = load_recipe(recipe, set_ or [])

    from langraft.pipeline import Run, go
    from langraft.pipeline.cards import write_cards
    from langraft.pipeline.summary import show
    from langraft.report import write_report

    this = Run(loaded, recipe.resolve().parent, out or Path("runs") / loaded.name)
    try:
        go(this, until=until, fresh=fresh, twin=twin)
    finally:
        this.leave()
    write_cards(this.out)
    _corpus_page(this.out / "corpus")
    if loaded.pretrain or loaded.sft is not None:
        keep_plan(this)
    page = write_report(this.out)
    result = show(this)
    say(f"report: {page}")
    answer({**result, "report": str(page)}, json_)


def _corpus_page(folder: Path) -> None:
    """The page of the run's corpus, which the report links to."""
    from langraft.corpus.evaluate import COUNTS, GLANCE, evaluate_corpus
    from langraft.report.corpus import PAGE, write_corpus_page

    if (folder / COUNTS).is_file():
        write_corpus_page(evaluate_corpus(folder, most_bytes=GLANCE), folder / PAGE)


@app.command("train")
def train_command(
    recipe: RecipePath,
    stage: Annotated[
        str,
        typer.Option(help="a name in `pretrain` or `align`, or `sft`", show_default=False),
    ],
    out: Out,
    set_: Set = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="forget what an earlier call left of this stage")
    ] = False,
    json_: Json = False,
) -> None:
    """Do one training stage of a run whose earlier stages are done; `torchrun` starts it on many
    devices.

    Example: `langraft train recipes/quickstart-zh.yaml --stage adapt --out runs/quickstart-zh`

    Eight GPUs: `torchrun --nproc-per-node 8 -m langraft train my.yaml --stage one --out runs/my`
    """
    from langraft.core.errors import BadInput
    from langraft.core.io import PARTIAL, remove
    from langraft.core.manifest import run_lock, run_stage
    from langraft.core.messages import console
    from langraft.recipe import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    folders = {s.name: f"pretrain-{s.name}" for s in loaded.pretrain}
    folders |= {"sft": "sft"} if loaded.sft is not None else {}
    folders |= {s.name: f"align-{s.name}" for s in loaded.align}
    if stage not in folders:
        names = ", ".join(folders) or "none"
        raise BadInput(f"--stage {stage}: the recipe's training stages are: {names}")
    folder = folders[stage]
    from langraft.pipeline import Run, stage_of
    from langraft.pipeline.cards import write_cards

    this = Run(loaded, recipe.resolve().parent, out)
    ranks = this.ranks
    console.quiet = not ranks.lead
    with run_lock(out) if ranks.lead else nullcontext():
        try:
            if fresh and ranks.lead:
                remove(out / f"{folder}{PARTIAL}")
            ranks.wait()
            made = stage_of(this, folder)
            manifest = run_stage(out, made, lead=ranks.lead, wait=ranks.wait)
        finally:
            this.leave()
    if ranks.lead:
        write_cards(out)
        keep_plan(this, ranks.world)
        answer(manifest["results"], json_)


@app.command("report")
def report_command(run: Path, json_: Json = False) -> None:
    """Write the page of a run again.

    Example: `langraft report runs/quickstart-zh`
    """
    from langraft.report import write_report

    page = write_report(run)
    say(f"report: {page}")
    answer({"report": str(page)}, json_)
