"""The verbs that give a model new rows, or a longer context."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from langraft.cli.options import Json, Out, answer, card, texts_of
from langraft.core.messages import console, say, table

app = typer.Typer()

Init = Annotated[
    list[str] | None,
    typer.Option(help="INPUT or INPUT/OUTPUT, several to choose from, or auto", show_default=False),
]
Untie = Annotated[
    bool | None, typer.Option("--untie/--tie", help="own output rows", show_default=False)
]
Some = list[str] | None
Place = Path | None
Set = Annotated[
    list[str] | None, typer.Option("--set", help="a key of `graft.distil`, as key=value")
]


@app.command("graft")
def graft_command(
    base: str,
    tokenizer: Path,
    out: Out,
    init: Init = None,
    text: Annotated[Some, typer.Option(help="text in the new language to learn from")] = None,
    old_text: Annotated[Some, typer.Option(help="the same in old languages")] = None,
    held: Annotated[Some, typer.Option(help="text to score; else part of --text is kept")] = None,
    old_held: Annotated[Some, typer.Option(help="the same in old languages")] = None,
    score: Annotated[bool, typer.Option("--score", help="bits per byte of every start")] = False,
    words: Annotated[Place, typer.Option(help="bilingual word list, for align")] = None,
    donor: Annotated[Place, typer.Option(help="model that knows the pieces")] = None,
    untie: Untie = None,
    pad_to: Annotated[int, typer.Option()] = 64,
    max_bytes: Annotated[int, typer.Option(help="of each text that is scored")] = 24_000,
    seed: Annotated[int, typer.Option()] = 17,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Give a model rows for an extended tokenizer.

    `--init` names the method: subtoken-mean, mean, random, zeros, weighted, align, focus, omp,
    distil; after a slash that of the output rows, which may be conditional or fit too. With
    `--score` the zero-step bits per byte of every start are printed and the best one is written.

    Example: `langraft graft smollm2-135m extended --text zh.jsonl.zst --old-text en.jsonl.zst
    --score --out grafted`
    """
    from langraft.pipeline.one_graft import Wish, graft_once

    wish = Wish(
        base=base,
        tokenizer=tokenizer,
        out=out,
        inits=tuple(init or ()),
        texts=texts_of(text or []),
        old_texts=texts_of(old_text or []),
        held=texts_of(held or []),
        old_held=texts_of(old_held or []),
        score=score,
        words=words,
        donor=donor,
        untie=untie,
        pad_to=pad_to,
        max_bytes=max_bytes,
        seed=seed,
        settings=tuple(set_ or ()),
    )
    result = graft_once(wish)
    _show(result)
    card(out, base, f"langraft graft {Path(base).name} ... --init {result['method']}")
    say(f"grafted {result['added_rows']:,} rows, {result['method']}: {out}")
    answer(result, json_)


def _show(result: dict[str, Any]) -> None:
    """The table of starts, best first."""
    if "base_bits" not in result:
        return
    names = list(result["base_bits"])
    rows = [["untouched base", *[f"{result['base_bits'][n]:.4f}" for n in names], "", ""]]
    first = names[0]
    for found in result["starts"]:
        bits = found["bits"]
        ratio = bits[first] / result["base_bits"][first]
        cells = [f"{bits[name]:.4f}" for name in names]
        rows.append([found["start"], *cells, f"{ratio:.3f}x", f"{found['seconds']:.1f}"])
    console.print(
        table("zero-step bits per byte", ["start", *names, f"{first} / base", "seconds"], rows)
    )


@app.command("context")
def context_command(
    model: str,
    out: Out,
    method: Annotated[str, typer.Option(help="ntk, auto, linear, yarn or llama3")] = "ntk",
    length: Annotated[int | None, typer.Option(help="tokens to read", show_default=False)] = None,
    alpha: Annotated[float | None, typer.Option(help="ntk: instead of the formula's")] = None,
    json_: Json = False,
) -> None:
    """Let a model read longer texts than it was trained on, by its configuration alone.

    `ntk` freezes one base for `--length`; `auto` follows every text (not for GGUF or vLLM: freeze
    it with `ntk` first); `linear`, `yarn` and `llama3` scale by `--length` over the trained length.

    Example: `langraft context smollm2-135m --method ntk --length 16384 --out smollm2-16k`
    """
    from langraft.checkpoint.bases import resolve_base
    from langraft.graft.context import extend_context

    found = extend_context(resolve_base(model, Path()), method, length, out, alpha=alpha)
    card(out, model, f"langraft context {Path(model).name} --method {method} ...")
    say(f"{found['rope_parameters']}: {out}")
    answer({**found, "model": str(out)}, json_)
