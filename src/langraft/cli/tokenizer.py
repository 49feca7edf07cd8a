"""The verbs of the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from langraft.cli.options import Json, Out, Texts, answer, stream_of, texts_of
from langraft.core.messages import console, say, table

app = typer.Typer(help="Extend a tokenizer, prove it, compare it.", no_args_is_help=True)

FILES = (".json", ".model", ".tiktoken", ".gguf")
Base = Annotated[str, typer.Argument(help="model folder, tokenizer file, named base or hub id")]
Script = Annotated[list[str] | None, typer.Option(help="Unicode script of the new language")]
Held = Annotated[list[str] | None, typer.Option(help="new-language text not learnt from")]
Old = Annotated[list[str] | None, typer.Option(help="text in the base's languages")]
Budget = Annotated[int, typer.Option(help="tokens of the new language that training will read")]
Config = Annotated[
    Path | None, typer.Option(help="the model's config.json, where BASE is no model folder")
]
Page = Annotated[Path | None, typer.Option(help="also write a page with plots")]


@app.command("extend")
def tokenizer_extend(
    base: Base,
    text: Texts,
    out: Out,
    size: Annotated[str, typer.Option(help="pieces to add, or auto")] = "1600",
    vocabulary: Annotated[
        int | None, typer.Option(help="instead of --size: pieces in all, the base's included")
    ] = None,
    method: Annotated[
        str, typer.Option(help="continued-bpe, union, characters or list")
    ] = "continued-bpe",
    script: Script = None,
    mixed: Annotated[bool, typer.Option(help="let Latin letters and digits join in")] = False,
    min_frequency: Annotated[int, typer.Option(help="rarest piece worth a row")] = 2,
    pieces: Annotated[
        Path | None, typer.Option(help="list: jsonl of pieces; union: a SentencePiece model")
    ] = None,
    all_pieces: Annotated[
        bool, typer.Option(help="append also foreign and unreachable pieces, as the originals did")
    ] = False,
    pad_token: Annotated[str | None, typer.Option(help="a padding token to add")] = None,
    held: Held = None,
    budget: Budget = 100_000_000,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Add pieces of a new script to a tokenizer; the old language is encoded as before.

    Example: `langraft tokenizer extend smollm2-135m --text zh.jsonl.zst --size 1600 --script Han
    --out extended`
    """
    from langraft.core.errors import BadInput
    from langraft.tokenizer.extend import Rules
    from langraft.tokenizer.grow import Growth, grow

    rules = Rules(tuple(script or ["Han"]), mixed=mixed, min_frequency=min_frequency)
    found: dict[str, Any] = {}
    wanted: int | None = None
    if vocabulary is not None:
        pass
    elif size == "auto":
        swept = _sweep(base, text, held, None, rules, budget, config)
        found["sweep"] = swept.as_dict()
        say(swept.reason)
        if not swept.size:
            answer(found | {"added_pieces": 0}, json_)
            return
        wanted = swept.size
    elif size.isdecimal() or (size == "all" and pieces is not None):
        wanted = int(size) if size.isdecimal() else None
    else:
        raise BadInput(f"--size {size}: give a number, auto, or, with --pieces, all")
    growth = Growth(
        method, wanted, rules, pieces, not all_pieces, not all_pieces, pad_token, vocabulary
    )
    found |= grow(tokenizer_path(base), stream_of(text), growth, out)
    say(f"added {found['added_pieces']:,} pieces to {found['base_pieces']:,}: {out}")
    answer(found, json_)


def tokenizer_path(base: str) -> Path:
    """A tokenizer file as it is; anything else is a base model, and its folder is returned."""
    if Path(base).is_dir() or (Path(base).is_file() and base.endswith(FILES)):
        return Path(base)
    if Path(base).is_file():
        from langraft.core.errors import BadInput

        raise BadInput(f"{base}: no tokenizer file; known are {', '.join(FILES)} and model folders")
    from langraft.checkpoint.bases import resolve_base

    return resolve_base(base, Path())


def _sweep(
    base: str,
    text: list[str],
    held: list[str] | None,
    old: list[str] | None,
    rules: Any,
    budget: int,
    config: Path | None,
) -> Any:
    from langraft.core.errors import BadInput
    from langraft.tokenizer.sweep import Held, read_shape, sweep

    path = tokenizer_path(base)
    if not held:
        raise BadInput("--held: name text of the new language that is not learnt from")
    if config is None and not (path / "config.json").exists():
        raise BadInput(f"--config: {base} is no model folder; name the model's config.json")
    return sweep(
        path,
        stream_of(text),
        Held(texts_of(held), texts_of(old or [])),
        rules=rules,
        shape=read_shape(config or path / "config.json"),
        budget=budget,
    )


@app.command("sweep")
def tokenizer_sweep(
    base: Base,
    text: Texts,
    held: Held = None,
    old: Old = None,
    script: Script = None,
    budget: Budget = 100_000_000,
    config: Config = None,
    html: Page = None,
    json_: Json = False,
) -> None:
    """Weigh vocabulary sizes from 1k to 64k and recommend one, or to keep the base's vocabulary.

    Example: `langraft tokenizer sweep smollm2-135m --text zh.jsonl.zst --held zh-held.txt --old
    en.txt --budget 1000000000 --html sweep.html`
    """
    from langraft.report.vocabulary import write_sweep
    from langraft.tokenizer.extend import Rules
    from langraft.tokenizer.sweep import COLUMNS
    from langraft.tokenizer.sweep import table as rows_of

    rules = Rules(tuple(script or ["Han"]))
    found = _sweep(base, text, held, old, rules, budget, config).as_dict()
    rows = rows_of(found)
    console.print(table("vocabulary sizes", COLUMNS, rows))
    say(found["reason"])
    if html is not None:
        write_sweep(found, COLUMNS, rows, html)
    answer(found, json_)


@app.command("check")
def tokenizer_check(
    base: str,
    extended: Path,
    old: Texts,
    new: Annotated[
        list[str] | None, typer.Option(help="new-language text, best not learnt from")
    ] = None,
    golden: Annotated[
        list[Path] | None,
        typer.Option(help="published encodings of the base, NAME.inp with NAME.out beside it"),
    ] = None,
    json_: Json = False,
) -> None:
    """Prove the tokenizer contract; exit 1 with a counter-example when it does not hold.

    Example: `langraft tokenizer check smollm2-135m extended --old en.jsonl.zst --new zh.jsonl.zst`
    """
    import dataclasses

    from langraft.core.errors import RunFailed
    from langraft.tokenizer.check import check_tokenizer, usage

    lines = (line for text in stream_of(old) for line in text.split("\n") if line)
    fresh = texts_of(new or [])
    path = tokenizer_path(base)
    proofs = check_tokenizer(path, extended, lines, fresh, golden or [])
    verdict = {True: "holds", False: "FAILS"}
    rows = [
        (
            p.name,
            verdict[p.passed] if p.checked or not p.passed else "-",
            f"{p.checked:,}",
            p.detail,
        )
        for p in proofs
    ]
    console.print(table("tokenizer contract", ("proof", "", "checked", ""), rows))
    found: dict[str, Any] = {"proofs": [dataclasses.asdict(p) for p in proofs]}
    if fresh:
        found["usage"] = used = usage(path, extended, fresh)
        title = f"uses of the {used['pieces']:,} new pieces in --new: {used['never']:,} never"
        cells = list(used["groups"].items())
        console.print(table(title, ("at least", "pieces"), cells))
    answer(found, json_)
    failed = [p for p in proofs if not p.passed]
    if failed:
        raise RunFailed(
            "; ".join(f"{p.name}: no; counter-example {p.counterexample!r}" for p in failed)
        )


@app.command("compare")
def tokenizer_compare(
    tokenizers: list[str], text: Texts, html: Page = None, json_: Json = False
) -> None:
    """Compare tokenizers on the same text: tokens per character, byte and sample, words split.

    Example: `langraft tokenizer compare smollm2-135m extended --text zh.jsonl.zst`
    """
    from langraft.report.vocabulary import write_comparison
    from langraft.tokenizer.compare import compare

    found = compare([tokenizer_path(t) for t in tokenizers], texts_of(text))
    columns = ("tokenizer", "vocabulary", "tok/char", "tok/byte", "tok/sample", "split", "bytes")
    rows = [
        (
            name,
            f"{row['size']:,}",
            f"{row['tokens_per_character']:.3f}",
            f"{row['tokens_per_byte']:.3f}",
            f"{row['tokens_per_sample']:,.1f}",
            f"{row['words_split']:.1%}" if row["words"] else "-",
            f"{row['byte_share']:.1%}",
        )
        for name, row in zip(tokenizers, found, strict=True)
    ]
    console.print(table("tokenizers", columns, rows))
    if html is not None:
        write_comparison(columns, rows, found, html)
    answer({"tokenizers": found}, json_)
