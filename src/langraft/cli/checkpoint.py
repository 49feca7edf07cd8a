"""The verbs of checkpoints: look, convert, merge, make and apply deltas, average, add vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from langraft.cli.options import Json, Out, answer, card, texts_of
from langraft.core.messages import console, say, table

app = typer.Typer(
    help="Merge adapters, make and apply deltas, average models; look into folders.",
    no_args_is_help=True,
)
Model = Annotated[str, typer.Argument(help="model folder, .gguf file, named base or hub id")]
MOST_RISE = 0.10  # a tuned model may spend a little more on plain text; a wrong base, far more


def model_folder(model: str) -> Path:
    """A folder as it is (weights of any readable kind); anything else as a base."""
    if Path(model).is_dir():
        return Path(model)
    from langraft.checkpoint.bases import resolve_base

    return resolve_base(model, Path())


@app.command("info")
def checkpoint_info(
    model: Model,
    read: Annotated[bool, typer.Option(help="read every weight: digests, NaN, odd rows")] = True,
    json_: Json = False,
) -> None:
    """Shapes, dtype, rows against tokenizer, tying, rope, hashes, origin, and what looks wrong.

    Example: `langraft checkpoint info runs/quickstart-zh/pretrain-adapt`
    """
    from langraft.checkpoint.info import inspect_checkpoint

    found = inspect_checkpoint(model_folder(model), read=read)
    rows = [(key, value) for key, value in found.items() if key not in ("shapes", "wrong")]
    console.print(table("checkpoint", ("", ""), rows))
    console.print(table("shapes", ("tensor", "shape"), list(found["shapes"].items())))
    for problem in found["wrong"]:
        console.print(f"[red]looks wrong:[/red] {problem}", soft_wrap=True)
    if not found["wrong"]:
        say("[green]nothing looks wrong[/green]")
    answer(found, json_)


@app.command("convert")
def checkpoint_convert(
    model: Model,
    out: Out,
    tokenizer: Annotated[Path | None, typer.Option(help="folder of its tokenizer")] = None,
    shard_size: Annotated[float, typer.Option(help="GB a shard, at most")] = 5.0,
    json_: Json = False,
) -> None:
    """Make an ordinary safetensors folder of pytorch_model*.bin, Meta's consolidated.*.pth or GGUF.

    Example: `langraft checkpoint convert llama-2-7b --out llama-2-7b-hf`
    """
    from langraft.checkpoint.convert import convert

    folder = model_folder(model)
    note = convert(folder, out, tokenizer=tokenizer, shard_bytes=int(shard_size * 1e9))
    _done(note, out, json_, "convert", model)


@app.command("merge")
def checkpoint_merge(
    base: Model,
    adapter: Annotated[list[Path], typer.Option(help="peft adapter; several merge in this order")],
    out: Out,
    tokenizer: Annotated[Path | None, typer.Option(help="folder of the tokenizer to use")] = None,
    probe: Annotated[
        list[str] | None, typer.Option(help="texts: refuse when bits per byte rise by over 10 %")
    ] = None,
    any_base: Annotated[
        bool, typer.Option("--any-base", help="merge although the base looks wrong")
    ] = False,
    json_: Json = False,
) -> None:
    """Merge LoRA, rsLoRA or DoRA adapters into a base, shard by shard; every tensor must fit.

    Example: `langraft checkpoint merge llama-2-7b-hf --adapter chinese-llama-2-lora --out merged`
    """
    from langraft.checkpoint.merge import merge_adapters

    folder = model_folder(base)
    note = merge_adapters(
        folder,
        adapter,
        out,
        tokenizer=tokenizer,
        any_base=any_base,
        probe=_probe(folder, texts_of(probe)) if probe else None,
    )
    for name, evidence in zip(adapter, note["evidence"], strict=True):
        say(f"{name}: what speaks for this base: {evidence}")
    _done(note, out, json_, "merge", base)


def _probe(base: Path, texts: list[str]) -> Callable[[Path], None]:
    """Refuses a merged folder that spends far more bits on `texts` than the base does."""
    from langraft.core.errors import BadInput

    before = _bits(base, texts)

    def require(folder: Path) -> None:
        after = _bits(folder, texts)
        say(f"probe: {before:.4f} bits per byte before, {after:.4f} merged")
        if after > before * (1 + MOST_RISE):
            raise BadInput(
                f"the merged model spends {after:.4f} bits per byte on the probe, the base "
                f"{before:.4f}; the adapter was trained on another base"
            )

    return require


def _bits(folder: Path, texts: list[str]) -> float:
    from langraft.checkpoint.folder import load_model, load_tokenizer
    from langraft.data.frame import document_frame
    from langraft.evals.bits import bits_per_byte, excerpts
    from langraft.tokenizer.encoder import load_encoder
    from langraft.train.precision import choose_device

    device = choose_device("auto", "auto")
    score = bits_per_byte(
        load_model(folder).to(device.name),
        load_encoder(folder).encode_batch,
        excerpts(texts, 20_000),
        start=document_frame(load_tokenizer(folder)).start,
        window=512,
        autocast=device.bf16,
    )
    return score.per_byte


@app.command("delta-make")
def delta_make(
    base: Model,
    tuned: Annotated[str, typer.Argument(help="the model made from it")],
    out: Out,
    json_: Json = False,
) -> None:
    """Write what a tuned model is beyond its base, exact to the bit, with sha256s of all three.

    Example: `langraft checkpoint delta-make llama-13b ziya-13b --out ziya-delta`
    """
    from langraft.checkpoint.delta import make_delta

    _done(make_delta(model_folder(base), model_folder(tuned), out), out, json_)


@app.command("delta-apply")
def delta_apply(
    base: Model,
    delta: Annotated[Path, typer.Argument(help="folder of the delta")],
    out: Out,
    style: Annotated[
        str, typer.Option(help="for published deltas without checksums: auto, fastchat or ziya")
    ] = "auto",
    json_: Json = False,
) -> None:
    """Make the tuned model of a base and a delta; refuses a wrong base before it writes.

    Deltas that FastChat and Fengshenbang published (Vicuna, Ziya) are applied too.

    Example: `langraft checkpoint delta-apply llama-13b ziya-delta --out ziya-13b`
    """
    from langraft.checkpoint.delta import MANIFEST, apply_delta
    from langraft.checkpoint.published_delta import STYLES, apply_published

    if style not in STYLES:
        raise typer.BadParameter(f"{style!r} is not one of {', '.join(STYLES)}")
    folder = model_folder(base)
    if (delta / MANIFEST).exists():
        _done(apply_delta(folder, delta, out), out, json_, "delta-apply", base)
    else:
        found = apply_published(folder, delta, out, style)
        _done(found, out, json_, "delta-apply", base)


@app.command("delta-verify")
def delta_verify(
    delta: Path,
    base: Annotated[str | None, typer.Option(help="check this base against it")] = None,
    result: Annotated[str | None, typer.Option(help="check this result against it")] = None,
    json_: Json = False,
) -> None:
    """Check a delta against its own sha256s, and a base or a result against the delta.

    Example: `langraft checkpoint delta-verify ziya-delta --base llama-13b --result ziya-13b`
    """
    from langraft.checkpoint.delta import verify_delta

    found = verify_delta(
        delta,
        base=model_folder(base) if base else None,
        result=model_folder(result) if result else None,
    )
    say(f"[green]intact[/green]: {', '.join(found['checked'])}")
    answer(found, json_)


@app.command("average")
def checkpoint_average(
    models: Annotated[list[str], typer.Argument(help="two or more models of one shape")],
    out: Out,
    method: Annotated[str, typer.Option(help="linear, or slerp for two models")] = "linear",
    weight: Annotated[
        list[float] | None, typer.Option(help="one a model, in order; equal when not given")
    ] = None,
    json_: Json = False,
) -> None:
    """Average models of one shape, tensor by tensor; configuration and tokenizer are the first's.

    Example: `langraft checkpoint average step-900 step-1000 --weight 1 --weight 3 --out averaged`
    """
    from langraft.checkpoint.arithmetic import average

    if method not in ("linear", "slerp"):
        raise typer.BadParameter(f"{method!r} is not linear or slerp")
    folders = [model_folder(model) for model in models]
    found = average(folders, out, method=method, weights=weight)
    _done(found, out, json_, "average", models[0])


@app.command("arithmetic")
def checkpoint_arithmetic(
    start: Model,
    plus: Annotated[list[str], typer.Option(help="model whose training is added")],
    minus: Annotated[list[str], typer.Option(help="what that model was made from")],
    out: Out,
    scale: Annotated[list[float] | None, typer.Option(help="one a vector; 1 if not given")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="leave tensors whose name contains this")
    ] = None,
    json_: Json = False,
) -> None:
    """START + scale x (PLUS - MINUS): task vectors, and chat vectors for a new language.

    Rows that only START has stay as they are.

    Example: `langraft checkpoint arithmetic llama2-zh --plus llama2-chat --minus llama2 --out
    llama2-zh-chat`
    """
    from langraft.checkpoint.arithmetic import add_vectors

    scales = scale or [1.0] * len(plus)
    if not len(plus) == len(minus) == len(scales):
        raise typer.BadParameter("give one --minus (and one --scale, if any) for every --plus")
    vectors = [
        (factor, model_folder(a), model_folder(b))
        for factor, a, b in zip(scales, plus, minus, strict=True)
    ]
    found = add_vectors(model_folder(start), vectors, out, keep=keep or [])
    _done(found, out, json_, "arithmetic", start)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="the run's folder", show_default=False)],
    stage: Annotated[str, typer.Option(help="an unfinished stage that trains", show_default=False)],
    out: Out,
    step: Annotated[int | None, typer.Option(help="of the checkpoint [the newest]")] = None,
    json_: Json = False,
) -> None:
    """Write a checkpoint of a stage that is still training as an ordinary model folder.

    Example: `langraft checkpoint export runs/my --stage knowledge --out at-noon`
    """
    from langraft.export.card import write_card
    from langraft.pipeline import Run
    from langraft.pipeline.cards import facts_of_checkpoint
    from langraft.pipeline.checkpoint import export_checkpoint, named_stage
    from langraft.recipe import load_recipe

    this = Run(load_recipe(run / "recipe.yaml"), run.resolve(), run)
    found = export_checkpoint(this, stage, out, step)
    write_card(out, facts_of_checkpoint(run, named_stage(this, stage)[0], out, found))
    say(f"step {found}: {out}")
    answer({"step": found, "model": str(out)}, json_)


def _done(note: dict[str, Any], out: Path, as_json: bool, verb: str = "", base: str = "") -> None:
    """Say what was written; a model that `verb` made of `base` gets its card."""
    if verb:
        relation = "merge" if verb in ("merge", "average") else "finetune"
        made = f"langraft checkpoint {verb} {Path(base).name} ... --out {out.name}"
        card(out, base, made, relation)
    say(f"[green]written[/green]  {out}")
    answer({**note, "out": str(out)}, as_json)
