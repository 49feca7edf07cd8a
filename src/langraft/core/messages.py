"""What a person reads while work runs: everything goes to stderr, so that stdout stays for
results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

console = Console(stderr=True, highlight=False)
Item = TypeVar("Item")


def say(message: str) -> None:
    """Print one line for the person at the terminal; rich markup is honoured."""
    console.print(message, soft_wrap=True)


def warn(message: str) -> None:
    """Print one warning: a setting could not be honoured as asked, or a target was missed."""
    console.print(f"[yellow]warning:[/yellow] {message}", soft_wrap=True)


def bar(unit: str = "") -> Progress:
    """A progress bar with stage, share done, a free `note` field (speed, loss), elapsed and
    remaining time.

    Tasks are added with `progress.add_task(name, total=N, note="")`. Used as a context manager.
    """
    return Progress(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=False,
    )


def track(
    items: Iterable[Item], name: str, total: int | None = None, unit: str = ""
) -> Iterable[Item]:
    """Yield `items` behind a progress bar."""
    with bar(unit) as progress:
        task = progress.add_task(name, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A rich table; the first column is left-aligned, the others right-aligned."""
    built = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        built.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        built.add_row(*[str(cell) for cell in row])
    return built
