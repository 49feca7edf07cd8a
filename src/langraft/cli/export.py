"""The verbs that write files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langraft.cli.options import Json, Out, Texts, answer, card, texts_of
from langraft.core.messages import say

app = typer.Typer(help="Files for other programs.", no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="model folder, named base or hub id")]
OptionalTexts = Annotated[
    list[str] | None, typer.Option("--text", help="real text for the check: files or globs")
]


@app.command("gguf")
def export_gguf_command(
    model: Model,
    out: Annotated[Path, typer.Option(help="the file to write", show_default=False)],
    type_: Annotated[
        str,
        typer.Option(
            "--type",
            help="f32 f16 bf16 q8_0 q6_k q5_k q5_k_m q5_k_s q5_1 q5_0 q4_k q4_k_m q4_k_s q4_1 q4_0",
        ),
    ] = "f16",
    text: OptionalTexts = None,
    context: Annotated[
        int | None, typer.Option(help="length at which a dynamic rope scaling is frozen")
    ] = None,
    check: Annotated[bool, typer.Option(help="compare the file with the model")] = True,
    json_: Json = False,
) -> None:
    """Write a GGUF file and a Modelfile for Ollama, and compare the file with the model.

    Example: `langraft export gguf runs/quickstart-zh/pretrain-adapt --type q4_k_m --out zh.gguf`
    """
    import dataclasses

    from langraft.checkpoint.bases import resolve_base
    from langraft.export.gguf import export_gguf
    from langraft.export.modelfile import write_modelfile
    from langraft.export.parity import check_export

    folder = resolve_base(model, Path())
    found = export_gguf(folder, out, type_, context=context)
    found["modelfile"] = str(write_modelfile(folder, out))
    say(f"{out}: {found['bytes'] / 1e6:,.1f} MB, {found['tensors']} tensors, pre {found['pre']!r}")
    if check:
        parity = check_export(folder, out, type_.lower(), texts_of(text or []))
        found["parity"] = dataclasses.asdict(parity)
    answer(found, json_)


@app.command("check")
def export_check_command(
    model: Model,
    file: Annotated[Path, typer.Argument(help="the GGUF file", show_default=False)],
    text: OptionalTexts = None,
    json_: Json = False,
) -> None:
    """Compare a GGUF file with the model it was made from; exit 1 when they disagree.

    Example: `langraft export check runs/quickstart-zh/pretrain-adapt zh.gguf --text zh.jsonl.zst`
    """
    import dataclasses

    from langraft.checkpoint.bases import resolve_base
    from langraft.export.parity import check_export, type_of_file

    folder = resolve_base(model, Path())
    found = check_export(folder, file, type_of_file(file), texts_of(text or []))
    answer(dataclasses.asdict(found), json_)


@app.command("quantize")
def export_quantize_command(
    model: Model,
    text: Texts,
    out: Out,
    scheme: Annotated[str, typer.Option(help="int8 (torchao) or w4a16 (commands for vLLM)")] = (
        "int8"
    ),
    json_: Json = False,
) -> None:
    """Write a model in 8 bits for transformers, loaded again and scored; or prepare 4 for vLLM.

    Example: `langraft export quantize runs/quickstart-zh/pretrain-adapt --scheme int8 --text
    zh.jsonl.zst --out int8`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.export.quantize import quantize

    found = quantize(resolve_base(model, Path()), scheme, texts_of(text), out)
    if scheme == "int8":  # the other scheme leaves commands, not a model
        made = f"langraft export quantize {Path(model).name} --scheme {scheme} ..."
        card(out, model, made, "quantized")
    answer(found, json_)


@app.command("card")
def export_card_command(
    folder: Annotated[Path, typer.Argument(help="a model's folder", show_default=False)],
    base: Annotated[str | None, typer.Option(help="what it was made from")] = None,
    json_: Json = False,
) -> None:
    """Write the README.md of a model: metadata, measurements, how it was made.

    A folder of a run gets all that the run knows; another one what lies beside it. A run writes its
    cards by itself.

    Example: `langraft export card runs/quickstart-zh/pretrain-adapt`
    """
    from langraft.core.errors import BadInput
    from langraft.export.card import write_card
    from langraft.pipeline.cards import facts_of, plain_facts

    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    path = write_card(folder, facts_of(folder) if base is None else plain_facts(folder, base, ""))
    say(f"card: {path}")
    answer({"card": str(path)}, json_)


@app.command("push")
def export_push_command(
    folder: Annotated[Path, typer.Argument(help="a model's folder", show_default=False)],
    repo: Annotated[str, typer.Option(help="owner/name on the hub", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="for everybody to see")] = False,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="names or globs that stay behind")
    ] = None,
    json_: Json = False,
) -> None:
    """Upload a model's folder and card to the Hugging Face hub, private unless --public.

    Pickles, links and files that no model consists of are refused. The token is that of HF_TOKEN or
    of `hf auth login`.

    Example: `langraft export push runs/quickstart-zh/pretrain-adapt --repo me/smollm2-135m-zh`
    """
    from langraft.export.card import README, write_card
    from langraft.export.push import files_to_push, push

    files_to_push(folder, leave_out or ())
    if not (folder / README).exists():
        from langraft.pipeline.cards import facts_of  # imports torch: seconds

        say(f"card: {write_card(folder, facts_of(folder))}")
    found = push(folder, repo, public=public, leave_out=leave_out or ())
    seen = "private" if found["private"] else "public"
    say(f"{len(found['files'])} files, {seen}: {found['commit']}")
    answer(found, json_)


@app.command("table")
def export_table_command(
    model: Model,
    text: Texts,
    out: Out,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="types to measure; default: all plain ones")
    ] = None,
    max_bytes: Annotated[int, typer.Option(help="score at most so many UTF-8 bytes")] = 20_000,
    suite: Annotated[str | None, typer.Option(help="an exam as well: ceval, cmmlu, ...")] = None,
    data: Annotated[str, typer.Option(help="where the exam lies")] = ".",
    protocol: Annotated[str | None, typer.Option(help="as in `langraft eval choice`")] = None,
    shots: Annotated[int | None, typer.Option(help="worked examples")] = None,
    limit: Annotated[int | None, typer.Option(help="questions of each subject")] = None,
    json_: Json = False,
) -> None:
    """Size, perplexity, bits per byte, exam and speed of every GGUF type; Markdown, JSON, plot.

    Example: `langraft export table runs/quickstart-zh/pretrain-adapt --text zh.jsonl.zst --out
    table`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.evals.protocols import fitting
    from langraft.evals.suites import load_exam
    from langraft.export.tabulate import DEFAULT_TYPES, Questions, quantisation_table

    questions = None
    if suite is not None:
        exam = load_exam(suite, data, Path(), shots=shots, limit=limit)
        questions = Questions(exam, protocol or fitting(suite)[0])
    found = quantisation_table(
        resolve_base(model, Path()),
        texts_of(text),
        out,
        type_ or DEFAULT_TYPES,
        max_bytes=max_bytes,
        questions=questions,
    )
    say((out / "table.md").read_text())
    answer(found, json_)
