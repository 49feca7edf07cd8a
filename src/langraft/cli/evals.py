"""The verbs that measure a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langraft.cli.bits import eval_bits
from langraft.cli.choice import (
    Choices,
    Limit,
    Precision,
    Protocol,
    Shots,
    Subjects,
    cells,
    eval_choice,
    protocol_name,
)
from langraft.cli.options import Json, answer
from langraft.core.errors import BadInput
from langraft.core.messages import console, say, table

if TYPE_CHECKING:
    from langraft.evals.mismatch import Explained

MOVES = ("changed", "score", "95 % interval", "moves by", "from the published", "in the interval")

app = typer.Typer(help="Measure a model.", no_args_is_help=True)
app.command("bits")(eval_bits)
app.command("choice")(eval_choice)


@app.command("mismatch")
def eval_mismatch(
    model: str,
    suite: Annotated[str, typer.Option(help="mmlu, cmmlu, ceval, agieval, ... or csv")],
    data: Annotated[str, typer.Option(help="folder, .tar archive, file, or hub:owner/name")],
    published: Annotated[float, typer.Option(help="the published score in per cent")],
    protocol: Protocol = None,
    shots: Shots = None,
    limit: Limit = None,
    subject: Subjects = None,
    choices: Choices = None,
    precision: Precision = "auto",
    json_: Json = False,
) -> None:
    """Which setting moves a score how far towards a published one.

    Example: `langraft eval mismatch MODEL --suite ceval --data ceval/ --published 35.4 --protocol
    chinese-llama-asis`
    """
    import dataclasses

    from langraft.checkpoint.bases import resolve_base
    from langraft.evals.mismatch import Setting, explain
    from langraft.evals.open import open_reader, results_folder
    from langraft.evals.statistics import Estimate
    from langraft.evals.suite import evaluate
    from langraft.evals.suites import SUITES, load_exam, with_choices

    if not 0 <= published <= 100:
        raise BadInput(f"--published {published}: a score in per cent is between 0 and 100")
    folder = resolve_base(model, Path())
    whole = open_reader(folder, precision=precision)
    usual = SUITES[suite].shots if suite in SUITES and shots is None else shots
    claimed = Setting(protocol_name(suite, protocol), usual or 0)

    def score(setting: Setting) -> Estimate:
        exam = load_exam(
            *(suite, data, Path()),
            shots=setting.shots,
            subjects=subject or (),
            limit=limit,
            seed=setting.seed,
        )
        exam = with_choices(exam, choices) if choices else exam
        reader = dataclasses.replace(whole, window=min(setting.window or 1 << 30, whole.window))
        results = results_folder(reader, exam, setting.protocol)
        return evaluate(reader, exam, setting.protocol, results).main

    lines = explain(claimed, suite, published / 100, score)
    rows = [_cells(line) for line in lines]
    console.print(table(f"{SUITES[suite].title}, published {published}", MOVES, rows))
    answer({"published": published, "settings": [line.as_json() for line in lines]}, json_)


def _cells(line: Explained) -> tuple[str, ...]:
    return (
        line.setting,
        *cells(line.as_json()["score"])[:2],
        f"{100 * line.moves:+.1f}",
        f"{100 * line.distance:.1f}",
        "yes" if line.explains else "no",
    )


@app.command("compare")
def eval_compare(
    base: str,
    model: str,
    text: Annotated[
        list[str],
        typer.Option(help="language=files to measure bits per byte on, for example zh=a.txt"),
    ],
    new: Annotated[str, typer.Option(help="the code of the language that was taught")],
    suite: Annotated[
        list[str] | None, typer.Option(help="a suite, or suite=shots, for example cmmlu=5")
    ] = None,
    data: Annotated[str, typer.Option(help="where the suites lie")] = ".",
    protocol: Protocol = None,
    limit: Limit = None,
    max_bytes: Annotated[int, typer.Option(help="bytes of each text")] = 100_000,
    max_rise: Annotated[float, typer.Option(help="allowed rise of an old language")] = 0.03,
    precision: Precision = "auto",
    page: Annotated[Path, typer.Option(help="the page to write")] = Path("comparison.html"),
    json_: Json = False,
) -> None:
    """What a model learnt and what it forgot, against the base it came from: one page.

    Example: `langraft eval compare smollm2-135m runs/quickstart-zh/pretrain-adapt --new zh --text
    zh=zh.jsonl.zst --text en=en.jsonl.zst --suite cmmlu=5 --suite mmlu=5 --data benchmarks.tar.zst`
    """
    import dataclasses

    from langraft.checkpoint.bases import resolve_base
    from langraft.cli.comparing import Side, compared_suites, compared_texts
    from langraft.evals.compare import verdicts
    from langraft.report.comparison import write_comparison
    from langraft.report.words import language

    folders = resolve_base(base, Path()), resolve_base(model, Path())
    sides = [Side.open(folder, precision) for folder in folders]
    bodies = dict(_split(item, "text") for item in text)
    texts = compared_texts(sides, bodies, max_bytes)
    asked = [item.partition("=")[::2] for item in suite or ()]
    suites = compared_suites(sides, asked, data, lambda s: protocol_name(s, protocol), limit)
    judged = verdicts(texts, suites, new, max_rise, language)
    found = {
        "base": base,
        "model": model,
        "new": new,
        "texts": [dataclasses.asdict(line) for line in texts],
        "suites": [dataclasses.asdict(line) for line in suites],
        "verdicts": judged,
    }
    write_comparison(found, page)
    for line in judged:
        mark = "[green]good[/green]" if line["good"] else "[red]bad [/red]"
        say(f"{mark} {line['text']}")
    say(f"page: {page}")
    answer(found | {"page": str(page)}, json_)


def _split(item: str, option: str) -> tuple[str, str]:
    name, equals, rest = item.partition("=")
    if not equals or not name or not rest:
        raise BadInput(f"--{option} {item!r}: write it as language=files, for example zh=a.jsonl")
    return name, rest
