"""One self-contained HTML page a run: no script, no network, every text escaped. Never imports
torch.
"""

from __future__ import annotations

from pathlib import Path

from langraft.core.io import write_atomic
from langraft.report import (
    account,
    benchmarks,
    corpus,
    curves,
    events,
    planned,
    scores,
    starts,
    tuned,
    vocabulary,
)
from langraft.report.charts import Chart
from langraft.report.run import Run, read_run
from langraft.report.templates import fill

__all__ = ["write_report"]

PAGE = "report.html"


def write_report(run: Path) -> Path:
    """Write `report.html` into the run folder `run`, from whatever stages it holds, and return its
    path.

    The same folder gives the same bytes: the page holds no time of writing.

    Raises:
        BadInput: `run` is no run folder.
        RunFailed: the page cannot be written.
    """
    page = run / PAGE
    write_atomic(page, _render(read_run(run)))
    return page


def _corpus_page(folder: Path) -> str:
    """The page of the run's corpus, from the run folder, if there is one."""
    page = folder / "corpus" / corpus.PAGE
    return page.relative_to(folder).as_posix() if page.exists() else ""


def _sizes(run: Run) -> list[Chart]:
    """The curves of the sweep that chose the size, where there was one."""
    found = run.results("tokenizer").get("sweep")
    return vocabulary.sweep_charts(found) if found else []


def _render(run: Run) -> str:
    columns, rows = scores.bits_table(run)
    judged, tried = starts.starts_table(run)
    return fill(
        "page.html",
        run=run,
        name=run.recipe.get("name") or run.folder.name,
        title=account.title(run),
        lede=account.lede(run),
        verdict=account.verdict(run),
        unfinished=account.unfinished(run),
        targets=scores.targets(run),
        cards=scores.cards(run),
        curves=[*curves.curves(run), *curves.pareto(run)],
        losses=curves.losses(run),
        events=events.events(run),
        columns=columns,
        rows=rows,
        judged=judged,
        tried=tried,
        judged_apart=bool(run.results("graft").get("judged_base")),
        planned=planned.planned(run),
        waterfall=account.waterfall(run),
        sizes=_sizes(run),
        machines=account.machines(run),
        sources=account.sources(run),
        corpus_page=_corpus_page(run.folder),
        vocabulary=account.vocabulary(run),
        samples=account.samples(run),
        tuned=tuned.tuned(run),
        benchmarks=benchmarks.benchmarks(run),
        timings=account.timings(run),
        origins=account.origins(run),
        versions=account.versions(run),
        commands=account.commands(run),
    )
