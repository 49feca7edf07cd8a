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
