"""The verbs that measure a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langraft.cli.bits import eval_bits
from langraft.cli.options import Json, answer, texts_of
from langraft.core.errors import BadInput
from langraft.core.messages import console, say, table, warn

if TYPE_CHECKING:
    from langraft.evals.suite import Reader
    from langraft.evals.suites import Exam
    from langraft.evals.summary import Summary

app = typer.Typer(help="Measure a model.", no_args_is_help=True)
app.command("bits")(eval_bits)

Suite = Annotated[str, typer.Option(help="mmlu, cmmlu, ceval, agieval, gaokao, c3, ... or csv")]
Data = Annotated[str, typer.Option(help="folder, .tar archive, file, or hub:owner/name")]
Protocol = Annotated[
    str | None, typer.Option(help="colossal, chinese-llama, lm-eval, generate, ...")
]
Shots = Annotated[int | None, typer.Option(help="worked examples; else the suite's usual number")]
Limit = Annotated[int | None, typer.Option(help="only so many questions of each subject")]
Subjects = Annotated[list[str] | None, typer.Option(help="only this subject; may be repeated")]
Choices = Annotated[
    int | None, typer.Option(help="only questions with one right answer among so many")
]
Window = Annotated[int | None, typer.Option(help="tokens the model reads at most")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, or auto: bf16 on a GPU")]
Seed = Annotated[int | None, typer.Option(help="draw the worked examples; else the first")]
Results = Annotated[
    Path | None, typer.Option(help="keep each question's result here; else in the cache")
]


@app.command("choice")
def eval_choice(
    model: str,
    suite: Suite,
    data: Data,
    protocol: Protocol = None,
    shots: Shots = None,
    limit: Limit = None,
    subject: Subjects = None,
    split: Annotated[str | None, typer.Option(help="another split of the files")] = None,
    seed: Seed = None,
    window: Window = None,
    precision: Precision = "auto",
    plain: Annotated[bool, typer.Option(help="read every prompt whole, to compare")] = False,
    choices: Choices = None,
    corpus: Annotated[
        list[str] | None, typer.Option(help="training texts: also score without their items")
    ] = None,
    out: Results = None,
    json_: Json = False,
) -> None:
    """Score a model on a benchmark under a named protocol, printed with every score.

    A killed evaluation goes on where it was. Under torchrun each process takes its share.

    Example: `langraft eval choice smollm2-135m --suite cmmlu --data benchmarks.tar.zst --protocol
    colossal --shots 5 --limit 20`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.evals.open import open_reader
    from langraft.evals.ranks import joined
    from langraft.evals.suites import load_exam, with_choices

    exam = load_exam(
        *(suite, data, Path()),
        shots=shots,
        split=split,
        subjects=subject or (),
        limit=limit,
        seed=seed,
    )
    exam = with_choices(exam, choices) if choices else exam
    folder = resolve_base(model, Path())
    with joined() as ranks:
        reader = open_reader(folder, window=window, precision=precision, share=not plain)
        name = _protocol(suite, protocol)
        results = _results(reader, exam, name, out)
        from langraft.evals.suite import evaluate

        summary = evaluate(reader, exam, name, results, ranks)
        if ranks.rank:
            return
    _show(summary, results)
    found = summary.as_json() | {"results": str(results)}
    if corpus:
        found["contamination"] = _contamination(exam, results, corpus)
    answer(found, json_)


def _protocol(suite: str, name: str | None) -> str:
    from langraft.evals.protocols import fitting

    return name or fitting(suite)[0]


def _results(reader: Reader, exam: Exam, protocol: str, out: Path | None) -> Path:
    """Where the results of exactly this evaluation are kept."""
    from langraft.checkpoint.bases import cache_folder
    from langraft.core.io import sha256_json
    from langraft.evals.open import results_name

    if out is not None:
        return out
    settings = [exam.digest(), exam.shots, exam.seed, exam.split, reader.window, reader.share]
    settings.append(str(reader.model.dtype))
    name = f"{results_name(reader, exam.suite, protocol)}-{sha256_json(settings)[:12]}"
    return cache_folder() / "evals" / name


def _show(summary: Summary, results: Path) -> None:
    """The card, the scores, the notes."""
    from langraft.evals.suite import brief

    say("[bold]protocol card[/bold]")
    for key, value in brief(summary.card).items():
        console.print(f"  {key:14} {value}", markup=False)
    rows = []
    for name, measure in summary.measures.items():
        lines = {"over questions": measure["micro"], "over subjects": measure["macro"]}
        lines |= measure["groups"] or measure["subjects"]
        rows += [(name, key, *_cells(estimate)) for key, estimate in lines.items()]
    columns = ("measure", "of", "score", "95 % interval", "questions")
    console.print(table("scores", columns, rows))
    for note in summary.notes:
        warn(note)
    say(f"every question: {results}")


def _cells(estimate: Mapping[str, Any]) -> tuple[str, str, str]:
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


@app.command("mismatch")
def eval_mismatch(
    model: str,
    suite: Suite,
    data: Data,
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
    from langraft.evals.open import open_reader
    from langraft.evals.statistics import Estimate
    from langraft.evals.suite import evaluate
    from langraft.evals.suites import SUITES, load_exam, with_choices

    if not 0 <= published <= 100:
        raise BadInput(f"--published {published}: a score in per cent is between 0 and 100")
    folder = resolve_base(model, Path())
    whole = open_reader(folder, precision=precision)
    usual = SUITES[suite].shots if suite in SUITES and shots is None else shots
    claimed = Setting(_protocol(suite, protocol), usual or 0)

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
        results = _results(reader, exam, setting.protocol, None)
        return evaluate(reader, exam, setting.protocol, results).main

    lines = explain(claimed, suite, published / 100, score)
    rows = [
        (
            line.setting,
            *_cells(line.as_json()["score"])[:2],
            f"{100 * line.moves:+.1f}",
            f"{100 * line.distance:.1f}",
        )
        for line in lines
    ]
    columns = ("changed", "score", "95 % interval", "moves by", "from the published")
    console.print(table(f"{SUITES[suite].title}, published {published}", columns, rows))
    answer({"published": published, "settings": [line.as_json() for line in lines]}, json_)


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
    suites = compared_suites(sides, asked, data, lambda s: _protocol(s, protocol), limit)
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
