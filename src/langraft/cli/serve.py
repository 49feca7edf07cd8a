"""The verbs that talk to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from langraft.cli.options import Json, answer

if TYPE_CHECKING:
    from langraft.serve.engine import Engine

app = typer.Typer()
EngineName = Annotated[
    Literal["auto", "llama", "transformers"],
    typer.Option(help="auto: llama.cpp where the model becomes GGUF, else transformers"),
]
Host = Annotated[str, typer.Option(help="address to listen on")]
Port = Annotated[int, typer.Option(help="0 takes any free port")]
Type = Annotated[str, typer.Option("--type", help="GGUF type that a folder is converted to")]


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


def engine_of(
    model: str,
    engine: str,
    *,
    name: str | None = None,
    kind: str = "q8_0",
    context: int = 4_096,
    slots: int = 4,
    embeddings: bool = False,
    draft: str | None = None,
) -> Engine:
    """The engine for a model, converted on first use where llama.cpp serves it."""
    from langraft.core.errors import BadInput
    from langraft.serve.local import TransformersEngine

    called = name or Path(model).resolve().name.removesuffix(".gguf")
    if engine != "transformers":
        from langraft.export.cached import gguf_of
        from langraft.serve.llama import LlamaEngine

        try:
            return LlamaEngine(
                gguf_of(model, kind),
                called,
                context=context,
                slots=slots,
                embeddings=embeddings,
                draft=gguf_of(draft, kind) if draft else None,
            )
        except BadInput:
            if engine == "llama" or model.endswith(".gguf"):
                raise
    from langraft.checkpoint.bases import resolve_base

    return TransformersEngine(resolve_base(model, Path()), called, context=context)


@app.command("serve")
def serve_command(
    model: Annotated[str, typer.Argument(help="model folder, .gguf file, named base or hub id")],
    host: Host = "127.0.0.1",
    port: Port = 8000,
    engine: EngineName = "auto",
    name: Annotated[str | None, typer.Option(help="what clients call the model")] = None,
    type_: Type = "q8_0",
    context: Annotated[int, typer.Option(help="tokens of one conversation")] = 4_096,
    slots: Annotated[int, typer.Option(help="answers generated at the same time")] = 4,
    queue: Annotated[int, typer.Option(help="requests that may wait")] = 256,
    api_key: Annotated[
        list[str] | None, typer.Option(help="accepted keys", envvar="LANGRAFT_API_KEY")
    ] = None,
    cors: Annotated[list[str] | None, typer.Option(help="origins that browsers may use")] = None,
    embeddings: Annotated[bool, typer.Option(help="serve /v1/embeddings")] = False,
    draft: Annotated[str | None, typer.Option(help="small model for speculative decoding")] = None,
) -> None:
    """Serve a model with OpenAI's API.

    Example: `langraft serve runs/quickstart-zh/pretrain-adapt --port 8000`
    """
    from langraft.serve.http import serve
    from langraft.serve.limits import Limits

    built = engine_of(
        model,
        engine,
        name=name,
        kind=type_,
        context=context,
        slots=slots,
        embeddings=embeddings,
        draft=draft,
    )
    limits = Limits(queue=queue, keys=tuple(api_key or ()), origins=tuple(cors or ()))
    serve(built, host, port, limits)


@app.command("demo")
def demo_command(
    model: Annotated[str, typer.Argument(help="model folder, .gguf file, named base or hub id")],
    base: Annotated[str | None, typer.Option(help="a second model, shown beside it")] = None,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    engine: EngineName = "auto",
    type_: Type = "q8_0",
) -> None:
    """Chat with a model in the browser; with --base, two models side by side.

    Example: `langraft demo runs/quickstart-zh/pretrain-adapt --base smollm2-135m`
    """
    from langraft.serve.demo import demo

    models = [engine_of(model, engine, kind=type_)]
    models += [engine_of(base, engine, kind=type_)] if base else []
    demo(models, host, port)


@app.command("ask")
def ask_command(
    model: Annotated[str, typer.Argument(help="model folder, .gguf file, named base or hub id")],
    docs: Annotated[Path, typer.Option(help="folder of txt, md, html, pdf and docx files")],
    question: Annotated[str | None, typer.Argument(help="none: summarise")] = None,
    mode: Annotated[
        Literal["stuff", "refine", "map-reduce"], typer.Option(help="how passages are read")
    ] = "stuff",
    passages: Annotated[int, typer.Option(help="passages that the answer may use")] = 4,
    max_new_tokens: Annotated[int, typer.Option(help="longest answer")] = 256,
    engine: EngineName = "auto",
    json_: Json = False,
) -> None:
    """Answer a question from documents, with citations; without a question, summarise them.

    Example: `langraft ask runs/quickstart-zh/pretrain-adapt "第一条是什么？" --docs papers`
    """
    from langraft.serve.ask import ask

    built = engine_of(model, engine, slots=1)
    found = ask(built, docs, question, mode=mode, passages=passages, tokens=max_new_tokens)
    answer(found, json_)
