"""What the command line and the Makefile accept: a page's command is parsed by the real ones."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
import typer.main
from docs_blocks import ROOT

from langraft.cli import app

COMMAND: Any = typer.main.get_command(app)
# Typer carries its own copy of click, whose exceptions have no public name.
REFUSED: Any = next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")
# Paths below these folders come with the repository, so a page may name no other.
SHIPPED = re.compile(r"(recipes|data|tests|examples|benchmarks|notebooks)/[\w./*-]*\w")


def langraft_words(words: Sequence[str]) -> list[str] | None:
    """The words behind `langraft`, however it is started; None where the command is another."""
    for place, word in enumerate(words):
        if Path(word).name == "langraft" and (place == 0 or words[place - 1] == "-m"):
            return list(words[place + 1 :])
    return None


def refusal(words: Sequence[str], whole: bool = True) -> str:
    """What the command line says against a command line that it would not take; empty if it would.
    Nothing is run.

    Args:
        whole: False where a sentence leaves arguments out: only what is there is looked at.
    """
    try:
        _parse(list(words))
    except typer.Exit:  # --help
        return ""
    except REFUSED as error:
        left_out = type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")
        return "" if left_out and not whole else f"{type(error).__name__}: {error}"
    return ""


def _parse(rest: list[str]) -> None:
    command: Any = COMMAND
    context: Any = None
    while True:
        context = command.make_context(command.name, rest, parent=context)
        rest = [*context._protected_args, *context.args]
        if not hasattr(command, "commands") or not rest:
            return
        _, command, rest = command.resolve_command(context, rest)


def make_lines(words: Sequence[str]) -> list[list[str]]:
    """The commands that a call of `make` would run.

    Raises:
        ValueError: no such target.
    """
    found = subprocess.run(
        ["make", "-n", "--no-print-directory", *words[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if found.returncode:
        raise ValueError(found.stderr.strip())
    return [line.split() for line in found.stdout.splitlines()]


def missing_files(words: Sequence[str]) -> list[str]:
    """The paths of the repository that a command names and that are not there."""
    named = [m[0] for word in words for m in [SHIPPED.match(word)] if m]
    return [name for name in named if not list(ROOT.glob(name))]
