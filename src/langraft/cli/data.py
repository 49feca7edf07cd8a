"""Instruction and preference data: look at it before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, answer
from langraft.core.messages import console, say, table

app = typer.Typer(help="Instruction and preference data.", no_args_is_help=True)


@app.command("show")
def show_command(
    files: Annotated[list[str], typer.Argument(help="files, folders or globs", show_default=False)],
    model: Annotated[
        str, typer.Option(help="whose tokenizer: a folder, a named base", show_default=False)
    ],
    template: Annotated[str, typer.Option(help="a row of the table of templates")] = "tokenizer",
    layout: Annotated[
        str | None, typer.Option(help="how the records are laid out [by keys]")
    ] = None,
    longest: Annotated[int, typer.Option(help="tokens a sample may have")] = 1024,
    min_score: Annotated[float | None, typer.Option(help="leave out records below")] = None,
    sample: Annotated[int, typer.Option(help="which conversation to show, from 1")] = 1,
    json_: Json = False,
) -> None:
    """Check conversations, and show one as the model sees it; what it learns is green.

    Example: `langraft data show belle.json --model smollm2-135m --template llama2-zh`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.checkpoint.folder import load_tokenizer
    from langraft.core.errors import BadInput
    from langraft.data.checks import encode_all, read_all
    from langraft.data.encode import Renderer
    from langraft.data.objects import data_files

    tokenizer = load_tokenizer(resolve_base(model, Path()))
    renderer = Renderer(template, tokenizer)
    found = read_all(data_files(tuple(files), Path()), layout, min_score)
    dataset = encode_all(found, renderer, longest)
    if not 1 <= sample <= len(dataset.samples):
        raise BadInput(f"--sample {sample}: there are {len(dataset.samples)}")
    shown = dataset.samples[sample - 1]
    numbers = dataset.report.numbers()
    rows = [(key, f"{value:,}") for key, value in numbers.items() if not isinstance(value, list)]
    console.print(table("dataset", ("what", "number"), rows))
    for example in numbers["examples"]:
        console.print(f"unfit  {example}", markup=False)
    say(f"\nsample {sample}, from {dataset.sources[sample - 1].place}:")
    pieces = _runs(shown, tokenizer)
    for text, learnt in pieces:
        console.print(
            text, style="green" if learnt else "dim", markup=False, end="", soft_wrap=True
        )
    console.print()
    answer({**numbers, "template": template, "pieces": pieces}, json_)


@app.command("score")
def score_command(
    files: Annotated[list[str], typer.Argument(help="files of conversations", show_default=False)],
    rule: Annotated[list[str], typer.Option(help="NAME or NAME=WEIGHT", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="write each question's best answer")] = None,
    json_: Json = False,
) -> None:
    """Score answers by rules; of several answers to a question keep the best.

    Example: `langraft data score a.jsonl b.jsonl --rule same-language --rule length=0.5`
    """
    from langraft.core.errors import BadInput
    from langraft.data.objects import data_files
    from langraft.pipeline.feedback import score_files

    rules: dict[str, float] = {}
    for one in rule:
        name, _, weight = one.partition("=")
        try:
            rules[name] = float(weight or 1)
        except ValueError as error:
            raise BadInput(f"--rule {one}: the weight is not a number") from error
    found = score_files(data_files(tuple(files), Path()), rules, out)
    rows = [
        (path, *(f"{means[name]:.3f}" for name in rules)) for path, means in found["means"].items()
    ]
    console.print(table("mean score", ("file", *rules), rows))
    answer(found, json_)


@app.command("judge")
def judge_command(
    files: Annotated[list[str], typer.Argument(help="each model's answers", show_default=False)],
    judge: Annotated[str, typer.Option(help="URL#MODEL of an OpenAI-compatible endpoint")],
    out: Annotated[Path, typer.Option(help="the folder of verdicts and preferences")],
    form: Annotated[str, typer.Option(help="the judge's instructions")] = "verdict-zh",
    workers: Annotated[int, typer.Option(help="requests under way at once")] = 4,
    key_file: Annotated[Path | None, typer.Option(help="a file with the endpoint's key")] = None,
    json_: Json = False,
) -> None:
    """Let a judge model label preferences, in both orders; what it contradicts is dropped.

    Example: `langraft data judge a.jsonl b.jsonl --judge http://127.0.0.1:8000/v1 --out labels`
    """
    from langraft.arena.judge import Jury
    from langraft.arena.players import endpoint
    from langraft.arena.verdicts import template as form_of
    from langraft.core.errors import BadInput
    from langraft.data.objects import data_files
    from langraft.pipeline.feedback import label_pairs

    instructions = form_of(form)
    if instructions.kind != "verdict":
        raise BadInput(f"--form {form}: grades one answer; take one that compares two")
    key = key_file.read_text(encoding="utf-8").strip() if key_file is not None else ""
    jury = Jury(endpoint("", judge, key), instructions, workers)
    found = label_pairs(data_files(tuple(files), Path()), jury, out)
    say(f"{found['preferences']} preferences of {found['judged']} pairs: {found['file']}")
    answer(found, json_)


def _runs(sample: object, tokenizer: object) -> list[tuple[str, bool]]:
    """The sample's text in runs that are learnt or not, decoded from the very ids."""
    import itertools
    from typing import Any

    found: Any = sample
    decoder: Any = tokenizer
    pairs = zip(found.ids.tolist(), found.learnt.tolist(), strict=True)
    return [
        (decoder.decode([i for i, _ in run], skip_special_tokens=False), learnt)
        for learnt, run in itertools.groupby(pairs, key=lambda pair: pair[1])
    ]
