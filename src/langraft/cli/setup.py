"""First steps: a recipe from five answers, and what this machine can do."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape

from langraft.cli.options import Json, answer
from langraft.core.errors import BadInput
from langraft.core.messages import console, say, table, warn

if TYPE_CHECKING:
    from langraft.setup.draft import Written

app = typer.Typer()
Found = TypeVar("Found")


@app.command("init")
def init_command(
    language: Annotated[
        str | None, typer.Option(help="code or English name: ru, zh-Hant, hindi")
    ] = None,
    base: Annotated[str | None, typer.Option(help="folder, named base or hub id")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of text, old and new language")] = None,
    hardware: Annotated[str | None, typer.Option(help="cpu, rtx4090, '8 x h100', '24:165'")] = None,
    goal: Annotated[str | None, typer.Option(help="try, read or chat")] = None,
    out: Annotated[Path | None, typer.Option(help="the file to write [LANGUAGE-GOAL.yaml]")] = None,
    json_: Json = False,
) -> None:
    """Ask five questions, look at your text and base, and write a commented recipe.

    An option answers its question; with all five nothing is asked. Nothing is overwritten, and
    nothing is downloaded.

    Example: `langraft init --language ru --base smollm2-135m --data data/russian --hardware cpu
    --goal try --out my.yaml`
    """
    from langraft.setup import answers as read
    from langraft.setup.draft import refuse_existing, write_recipe
    from langraft.setup.languages import find_language

    if out is not None:
        refuse_existing(out)
    root = (out or Path("recipe.yaml")).resolve().parent
    given = {"language": language, "base": base, "data": data, "hardware": hardware, "goal": goal}
    missing = [name for name, value in given.items() if value is None]
    if missing and not sys.stdin.isatty():
        options = ", ".join(f"--{name}" for name in missing)
        raise BadInput(f"init: no terminal to ask at; give {options} as well")
    tongue = _ask("Language to teach (code or English name)", language, find_language)
    found = _ask(
        "Base: a folder, a hub id, or a known name",
        base,
        lambda text: read.find_base(text, root),
        read.DEFAULT_BASE,
    )
    looked = _ask(
        f"Folder of text ({tongue.code}, and some of the base's own language)",
        None if data is None else str(data),
        lambda text: read.find_data(text, tongue),
    )
    machine = _ask(
        f"Hardware, as 'cpu' or '8 x h100' ({read.known_devices()})",
        hardware,
        read.find_hardware,
        "cpu",
    )
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in read.GOALS.items())
    aim = _ask(f"Goal ({meanings})", goal, read.find_goal, "try")
    place = out or Path(f"{tongue.code}-{aim}.yaml")
    written = write_recipe(read.Answers(tongue, found, looked, machine, aim), place)
    answer(_told(written, read.Answers(tongue, found, looked, machine, aim)), json_)


MARKS = {
    "good": "[green]good[/green]   ",
    "lacking": "[yellow]lacking[/yellow]",
    "bad": "[red]bad[/red]    ",
}


@app.command("doctor")
def doctor_command(
    out: Annotated[Path, typer.Option(help="where runs would be written")] = Path("runs"),
    hub: Annotated[bool, typer.Option("--hub", help="also try to reach the hub")] = False,
    json_: Json = False,
) -> None:
    """Check this machine: what works, what is lacking, and what to install.

    Nothing leaves the machine unless --hub is given. Exit code 1 when something is missing that
    langraft cannot work without.

    Example: `langraft doctor --json`
    """
    from langraft.setup.doctor import examine

    checks = examine(out, hub)
    for check in checks:
        advice = f"  [dim]{escape(check.advice)}[/dim]" if check.advice else ""
        say(f"{MARKS[check.state]}  {escape(check.name)}: {escape(check.found)}{advice}")
    bad = [check.name for check in checks if check.state == "bad"]
    verdict = f"[red]missing: {', '.join(bad)}[/red]" if bad else "[green]langraft works[/green]"
    say(verdict)
    answer({"ok": not bad, "checks": [dataclasses.asdict(check) for check in checks]}, json_)
    if bad:
        raise typer.Exit(1)


def _ask(
    question: str, given: str | None, read: Callable[[str], Found], default: str | None = None
) -> Found:
    """The answer that was given as an option, or that is typed; a bad one is asked for again.

    Raises:
        BadInput: a bad option.
    """
    if given is not None:
        return read(given)
    while True:
        typed = str(typer.prompt(question, default=default, err=True)).strip()
        try:
            return read(typed)
        except BadInput as error:
            console.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)


def _told(written: Written, answers: Any) -> dict[str, Any]:
    """Print what was found and what to do next; the same for `--json`."""
    from langraft.cli.plan import time_span

    data = answers.data
    rows = [
        (
            body.language,
            "new" if body in data.new else "replay" if body in data.old else "left out",
            len(body.files),
            f"{body.size / 1e6:,.2f}",
            ", ".join(f"{script} {share:.0%}" for script, share in body.scripts.items()),
        )
        for body in (*data.new, *data.old, *data.others)
    ]
    console.print(table("the data", ("language", "as", "files", "MB of text", "scripts"), rows))
    for why in data.unread.values():
        warn(f"left out: {why}")
    if not data.old:
        warn("no text of the base's own language: what it forgets cannot be measured; add some")
    if written.per_character is not None:
        say(f"the base spends {written.per_character:.2f} tokens on a character of this text")
    say(f"[green]written[/green]  {written.path}; {time_span(written.plan['hours'])} by the plan")
    device = written.path, answers.hardware.name, answers.hardware.devices
    many = f" --devices {device[2]}" if device[2] > 1 else ""
    say(f"next: langraft plan {device[0]} --device {device[1]}{many}")
    say(f"then: langraft run {device[0]}")
    return {
        "recipe": str(written.path),
        "language": {"code": answers.tongue.code, "scripts": list(answers.tongue.scripts)},
        "new_bytes": data.new_bytes,
        "old_bytes": data.old_bytes,
        "conversations": [str(path) for path in data.talks],
        "tokens_per_character": written.per_character,
        "hours": written.plan["hours"],
        "stages": [stage["name"] for stage in written.plan["stages"]],
    }
