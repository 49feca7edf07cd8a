"""The verb that scores a model on benchmarks: one, several, or all that a folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langraft.cli.options import Json, answer, texts_of
from langraft.core.errors import BadInput
from langraft.core.messages import console, say, table, warn

if TYPE_CHECKING:
    from langraft.evals.suites import Exam
    from langraft.evals.summary import Summary

ALL = "all"
Asked = list[tuple["Exam", str]]

Protocol = Annotated[
    str | None, typer.Option(help="colossal, chinese-llama, lm-eval, generate, ...")
]
Shots = Annotated[int | None, typer.Option(help="worked examples; else the suite's usual number")]
Limit = Annotated[int | None, typer.Option(help="only so many questions of each subject")]
Subjects = Annotated[list[str] | None, typer.Option(help="only this subject; may be repeated")]
Choices = Annotated[
    int | None, typer.Option(help="only questions with one right answer among so many")
]
Precision = Annotated[str, typer.Option(help="fp32, bf16, or auto: bf16 on a GPU")]


def eval_choice(
    model: str,
    suite: Annotated[
        list[str],
        typer.Option(help="mmlu, cmmlu, ceval, agieval, ... or csv; may be repeated; or all"),
    ],
    data: Annotated[
        list[str],
        typer.Option(help="folder, .tar archive, file, or hub:owner/name; may be repeated"),
    ],
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="colossal, chinese-llama, lm-eval, ...; may be repeated; or all"),
    ] = None,
    shots: Shots = None,
    limit: Limit = None,
    subject: Subjects = None,
    split: Annotated[str | None, typer.Option(help="another split of the files")] = None,
    seed: Annotated[int | None, typer.Option(help="draw worked examples; else the first")] = None,
    window: Annotated[int | None, typer.Option(help="tokens the model reads at most")] = None,
    precision: Precision = "auto",
    plain: Annotated[bool, typer.Option(help="read every prompt whole, to compare")] = False,
    choices: Choices = None,
    corpus: Annotated[
        list[str] | None, typer.Option(help="training texts: also score without their items")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="keep each question's result here; else in the cache")
    ] = None,
    json_: Json = False,
) -> None:
    """Score a model on benchmarks under named protocols, printed with every score.

    A killed evaluation goes on where it was. Under torchrun each process takes its share. With
    several suites or protocols (`all`: every suite that the data holds, every protocol that fits)
    the scores stand in one table, and below --out each has a folder of its own.

    Example: `langraft eval choice smollm2-135m --suite cmmlu --data benchmarks.tar.zst --protocol
    colossal --shots 5 --limit 20`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.evals.open import open_reader, results_folder
    from langraft.evals.ranks import joined
    from langraft.evals.suite import evaluate

    settings = {"shots": shots, "split": split, "subjects": subject or (), "limit": limit}
    asked = _asked(suite, data, protocol or [], choices, **settings, seed=seed)
    base, found = resolve_base(model, Path()), []
    with joined() as ranks:
        reader = open_reader(base, window=window, precision=precision, share=not plain)
        for exam, name in asked:
            own = out / f"{exam.suite}-{name}" if out and len(asked) > 1 else out
            results = own or results_folder(reader, exam, name)
            summary = evaluate(reader, exam, name, results, ranks)
            if ranks.rank == 0:
                found.append(_told(summary, exam, results, corpus))
    if len(found) > 1:
        console.print(table("all scores", COLUMNS, [_line(one) for one in found]))
    if found:
        answer(found[0] if len(asked) == 1 else {"evaluations": found}, json_)


def protocol_name(suite: str, name: str | None) -> str:
    """The protocol asked for, or the first that fits the suite."""
    from langraft.evals.protocols import fitting

    return name or fitting(suite)[0]


def _asked(
    suites: Sequence[str],
    data: Sequence[str],
    protocols: Sequence[str],
    choices: int | None,
    **settings: Any,
) -> Asked:
    """Every exam with a protocol that it is to be scored under.

    Raises:
        BadInput: the data holds no suite, or not one that was named.
    """
    from langraft.evals.protocols import fitting
    from langraft.evals.suites import load_exam, with_choices

    found: Asked = []
    for suite, place in _places(suites, data):
        exam = load_exam(suite, place, Path(), **settings)
        exam = with_choices(exam, choices) if choices else exam
        names = fitting(suite) if ALL in protocols else protocols or [protocol_name(suite, None)]
        found += [(exam, name) for name in names]
    return found


def _places(suites: Sequence[str], data: Sequence[str]) -> list[tuple[str, str]]:
    """Where each suite lies; one place may hold anything, several say by their names what they
    hold.
    """
    if len(data) == 1 and ALL not in suites:
        return [(suite, data[0]) for suite in suites]
    from langraft.evals.suites import held_suites

    held: dict[str, str] = {}
    for place in data:
        for suite in held_suites(place, Path()):
            held.setdefault(suite, place)
    if not held:
        raise BadInput(f"--data {', '.join(data)}: no folder or file there names a suite")
    missing = [suite for suite in suites if suite not in (*held, ALL)]
    if missing:
        raise BadInput(
            f"--suite {missing[0]}: not in {', '.join(data)}, which hold {', '.join(held)}"
        )
    return list(held.items()) if ALL in suites else [(suite, held[suite]) for suite in suites]


COLUMNS = ("suite", "protocol", "shots", "measure", "score", "95 % interval", "questions")


def _line(found: Mapping[str, Any]) -> tuple[str, ...]:
    """A suite's own measure over questions, as the table of several shows it."""
    measure, values = next(iter(found["measures"].items()))
    card = found["card"]
    return (
        *(card["suite"], card["protocol"], str(card["shots"]), measure),
        *cells(values["micro"]),
    )


def _told(summary: Summary, exam: Exam, results: Path, corpus: list[str] | None) -> dict[str, Any]:
    """Print the card, the scores and the notes; return them as plain values."""
    from langraft.evals.suite import brief

    say("[bold]protocol card[/bold]")
    for key, value in brief(summary.card).items():
        console.print(f"  {key:14} {value}", markup=False)
    rows = []
    for name, measure in summary.measures.items():
        lines = {"over questions": measure["micro"], "over subjects": measure["macro"]}
        lines |= measure["groups"] or measure["subjects"]
        rows += [(name, key, *cells(estimate)) for key, estimate in lines.items()]
    columns = ("measure", "of", "score", "95 % interval", "questions")
    console.print(table("scores", columns, rows))
    for note in summary.notes:
        warn(note)
    say(f"every question: {results}")
    found = summary.as_json() | {"results": str(results)}
    if corpus:
        found["contamination"] = _contamination(exam, results, corpus)
    return found


def cells(estimate: Mapping[str, Any]) -> tuple[str, str, str]:
    """A score, its interval and its count, in per cent."""
    interval = f"{100 * estimate['low']:.1f} - {100 * estimate['high']:.1f}"
    return f"{100 * estimate['value']:.2f}", interval, f"{estimate['count']:,}"


def _contamination(exam: Exam, results: Path, corpus: list[str]) -> dict[str, Any]:
    """Scores with and without the items that the training texts hold."""
    from langraft.corpus.decontaminate import Decontaminator, Item
    from langraft.evals.contamination import found_items, item_texts, overlap
    from langraft.evals.ledger import read_results

    finder = Decontaminator(Item(*item) for item in item_texts(exam))
    found = overlap(
        read_results(results), found_items(finder, texts_of(corpus), exam.suite)
    ).as_json()
    clean = found["clean"]
    say(
        f"contamination: {len(found['items'])} of {found['of']} items are in the corpus; "
        f"all {100 * found['all']['value']:.2f}, "
        + (f"without them {100 * clean['value']:.2f}" if clean else "none is left without them")
    )
    return found
