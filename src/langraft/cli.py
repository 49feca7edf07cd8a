"""The command line: one verb, one function. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from langraft.core.errors import LangraftError
from langraft.core.messages import console, say, table

# Threads that spin while they wait for one another make a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="langraft",
    help="Teach an existing open language model a new language.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
corpus_app = typer.Typer(help="Raw text to clean documents.", no_args_is_help=True)
tokenizer_app = typer.Typer(help="Extend a tokenizer and prove it.", no_args_is_help=True)
eval_app = typer.Typer(help="Measure a model.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(eval_app, name="eval")

RecipePath = Annotated[Path, typer.Argument(help="the recipe, a YAML file", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="key.key=value, laid over the recipe")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object as the last line")]
Out = Annotated[Path, typer.Option(help="the folder to write", show_default=False)]
Texts = Annotated[list[str], typer.Option(help="text files, folders or globs", show_default=False)]


def main() -> None:
    """Run the command line; an expected error prints one message and exits with its code."""
    try:
        app()
    except LangraftError as error:
        console.print(f"[red]error:[/red] {error}", markup=True, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where this one was")
        sys.exit(130)


def answer(result: dict[str, Any], as_json: bool) -> None:
    """Print the result as one JSON line when it was asked for."""
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")


def texts_of(patterns: list[str]) -> list[str]:
    """The texts of the files that `patterns` name."""
    from langraft.corpus.readers import expand, read_texts

    return [r.text for path in expand(patterns, Path()) for r in read_texts(path, "text")]


@app.command("run")
def run_command(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(help="the run's folder [runs/NAME]")] = None,
    set_: Set = None,
    until: Annotated[str | None, typer.Option(help="the last stage to do")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="forget an earlier run in the folder")
    ] = False,
    twin: Annotated[
        bool, typer.Option("--twin", help="also train the base without extension")
    ] = False,
    json_: Json = False,
) -> None:
    """Do every stage of a recipe that is not done yet, and write the report.

    Example: `langraft run recipes/quickstart-zh.yaml --out runs/quickstart-zh`
    """
    from langraft.recipe import load_recipe

    loaded = load_recipe(recipe, set_ or [])

    from langraft.pipeline import Run, go
    from langraft.pipeline.summary import show
    from langraft.report import write_report

    this = Run(loaded, recipe.resolve().parent, out or Path("runs") / loaded.name)
    go(this, until=until, fresh=fresh, twin=twin)
    page = write_report(this.out)
    result = show(this)
    say(f"report: {page}")
    answer({**result, "report": str(page)}, json_)


@app.command("train")
def train_command(
    recipe: RecipePath,
    stage: Annotated[
        str, typer.Option(help="a name of the recipe's `pretrain` list", show_default=False)
    ],
    out: Out,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Do one training stage of a run whose earlier stages are done.

    Example: `langraft train recipes/quickstart-zh.yaml --stage knowledge --out runs/quickstart-zh`
    """
    from langraft.core.errors import BadInput
    from langraft.core.manifest import run_lock, run_stage
    from langraft.recipe import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    if stage not in [s.name for s in loaded.pretrain]:
        names = ", ".join(s.name for s in loaded.pretrain) or "none"
        raise BadInput(f"--stage {stage}: the recipe's pretrain stages are: {names}")
    from langraft.pipeline import Run, stage_of

    this = Run(loaded, recipe.resolve().parent, out)
    with run_lock(out):
        manifest = run_stage(out, stage_of(this, f"pretrain-{stage}"))
    answer(manifest["results"], json_)


@corpus_app.command("build")
def corpus_build(recipe: RecipePath, out: Out, set_: Set = None, json_: Json = False) -> None:
    """Read, clean, filter, deduplicate and split the recipe's sources.

    Example: `langraft corpus build recipes/quickstart-zh.yaml --out corpus`
    """
    from langraft.corpus.build import build_corpus
    from langraft.recipe import load_recipe, needs

    loaded = load_recipe(recipe, set_ or [])
    needs(loaded, "corpus", "language")
    assert loaded.corpus is not None
    assert loaded.language is not None
    out.mkdir(parents=True, exist_ok=True)
    answer(build_corpus(loaded.corpus, loaded.language.code, recipe.resolve().parent, out), json_)
    say(f"corpus: {out}   look at it with: langraft corpus inspect {out}")


@corpus_app.command("inspect")
def corpus_inspect(folder: Path, json_: Json = False) -> None:
    """Show what a corpus folder holds: counts step by step, and samples.

    Example: `langraft corpus inspect runs/quickstart-zh/corpus`
    """
    from rich.console import Console

    from langraft.corpus.inspect import inspect_corpus, show_corpus

    found = inspect_corpus(folder)
    Console().print(show_corpus(found))
    answer(found, json_)


@tokenizer_app.command("extend")
def tokenizer_extend(
    base: Annotated[str, typer.Argument(help="model folder, tokenizer file, named base or hub id")],
    text: Texts,
    out: Out,
    size: Annotated[int, typer.Option(help="pieces to add")] = 1_600,
    script: Annotated[
        list[str] | None, typer.Option(help="Unicode script of the new language")
    ] = None,
    min_frequency: Annotated[int, typer.Option(help="rarest piece worth a row")] = 2,
    json_: Json = False,
) -> None:
    """Add pieces of a new script to a tokenizer by continued BPE; the old language is encoded as
    before.

    Example: `langraft tokenizer extend smollm2-135m --text zh.jsonl.zst --size 1600 --script Han
    --out extended`
    """
    from langraft.tokenizer.extend import extend_tokenizer

    found = extend_tokenizer(
        tokenizer_path(base),
        texts_of(text),
        size=size,
        scripts=script or ["Han"],
        min_frequency=min_frequency,
        max_piece_characters=16,
        out=out,
    )
    say(f"added {found['added_pieces']:,} pieces to {found['base_pieces']:,}: {out}")
    answer(found, json_)


def tokenizer_path(base: str) -> Path:
    """A tokenizer file as it is; anything else is a base model, and its folder is returned."""
    if Path(base).exists() and (Path(base).is_dir() or not base.endswith(".gguf")):
        return Path(base)
    from langraft.checkpoint.bases import resolve_base

    return resolve_base(base, Path())


@tokenizer_app.command("check")
def tokenizer_check(
    base: str,
    extended: Path,
    old: Texts,
    new: Annotated[
        list[str] | None, typer.Option(help="new-language text for the round trip")
    ] = None,
    json_: Json = False,
) -> None:
    """Prove the tokenizer contract; exit 1 with a counter-example when it does not hold.

    Example: `langraft tokenizer check smollm2-135m extended --old en.jsonl.zst --new zh.jsonl.zst`
    """
    import dataclasses

    from langraft.core.errors import RunFailed
    from langraft.tokenizer.check import check_tokenizer

    lines = [line for text in texts_of(old) for line in text.split("\n") if line]
    proofs = check_tokenizer(tokenizer_path(base), extended, lines, texts_of(new or []))
    rows = [(p.name, "holds" if p.passed else "FAILS", f"{p.checked:,}") for p in proofs]
    console.print(table("tokenizer contract", ("proof", "", "checked"), rows))
    answer({"proofs": [dataclasses.asdict(p) for p in proofs]}, json_)
    failed = [p for p in proofs if not p.passed]
    if failed:
        raise RunFailed(f"{failed[0].name}: counter-example {failed[0].counterexample!r}")


@tokenizer_app.command("compare")
def tokenizer_compare(tokenizers: list[str], text: Texts, json_: Json = False) -> None:
    """Compare tokenizers on the same text: tokens per character and per byte.

    Example: `langraft tokenizer compare smollm2-135m extended --text zh.jsonl.zst`
    """
    from langraft.tokenizer.compare import compare

    rows = compare([tokenizer_path(t) for t in tokenizers], texts_of(text))
    keys = ("tokens", "tokens_per_character", "tokens_per_byte")
    cells = [
        (name, *(row[key] for key in keys)) for name, row in zip(tokenizers, rows, strict=True)
    ]
    console.print(table("tokenizers", ("tokenizer", *keys), cells))
    answer({"tokenizers": rows}, json_)


@app.command("graft")
def graft_command(
    base: str,
    tokenizer: Path,
    out: Out,
    pad_to: Annotated[int, typer.Option()] = 64,
    json_: Json = False,
) -> None:
    """Give a model rows for an extended tokenizer, each the mean of its sub-tokens' rows.

    Rows learnt from the base's hidden states need text: `langraft run` with `graft: {init:
    distil}`.

    Example: `langraft graft smollm2-135m extended --out grafted`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.checkpoint.folder import copy_tokenizer, load_model, save_model
    from langraft.graft.rows import add_rows, padded
    from langraft.tokenizer.encoder import load_encoder
    from langraft.tokenizer.segments import subtokens

    folder = resolve_base(base, Path())
    old, new = load_encoder(folder), load_encoder(tokenizer)
    pieces = subtokens(old, new)
    rows = padded(new.size, pad_to)
    model = add_rows(
        load_model(folder), pieces, first=new.size - len(pieces), rows=rows, untie=False
    )
    save_model(model, out)
    copy_tokenizer(tokenizer, out)
    say(f"grafted {len(pieces):,} rows: {out}")
    answer({"added_rows": len(pieces), "rows": rows, "model": str(out)}, json_)


@eval_app.command("bits")
def eval_bits(
    model: str,
    text: Texts,
    window: Annotated[int, typer.Option(help="tokens the model sees at a time")] = 512,
    max_bytes: Annotated[int, typer.Option(help="score at most so many UTF-8 bytes")] = 1_000_000,
    json_: Json = False,
) -> None:
    """Bits per UTF-8 byte, comparable across tokenizers; every byte is scored once.

    Example: `langraft eval bits runs/quickstart-zh/pretrain-adapt --text zh.jsonl.zst --max-bytes
    50000`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.checkpoint.folder import load_model, load_tokenizer
    from langraft.data.frame import document_frame
    from langraft.evals.bits import bits_per_byte, excerpts
    from langraft.tokenizer.encoder import load_encoder
    from langraft.train.precision import choose_device

    folder, device = resolve_base(model, Path()), choose_device("auto", "auto")
    score = bits_per_byte(
        load_model(folder).to(device.name),
        load_encoder(folder).encode_batch,
        excerpts(texts_of(text), max_bytes),
        start=document_frame(load_tokenizer(folder)).start,
        window=window,
        autocast=device.bf16,
    )
    say(f"{score.per_byte:.4f} bits per byte  ({score.bytes:,} bytes, {score.tokens:,} tokens)")
    answer({"bits_per_byte": score.per_byte, "bytes": score.bytes, "tokens": score.tokens}, json_)


@app.command("chat")
def chat_command(
    model: Path,
    max_new_tokens: Annotated[int, typer.Option(help="longest answer")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy")] = 0.7,
    system: Annotated[str | None, typer.Option(help="system message")] = None,
) -> None:
    """Talk to a model in the terminal.

    Example: `langraft chat runs/quickstart-zh/pretrain-adapt`
    """
    from langraft.serve.chat import chat

    chat(model, max_new_tokens=max_new_tokens, temperature=temperature, system=system)


@app.command("report")
def report_command(run: Path, json_: Json = False) -> None:
    """Write the page of a run again.

    Example: `langraft report runs/quickstart-zh`
    """
    from langraft.report import write_report

    page = write_report(run)
    say(f"report: {page}")
    answer({"report": str(page)}, json_)
