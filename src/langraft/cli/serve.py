"""The verbs that talk to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from langraft.cli.options import Json, answer

if TYPE_CHECKING:
    from langraft.serve.engine import Engine

app = typer.Typer()
Model = Annotated[str, typer.Argument(help="model folder, .gguf file, named base or hub id")]
EngineName = Annotated[
    Literal["auto", "llama", "transformers", "vllm"],
    typer.Option(help="auto: llama.cpp where the model becomes GGUF, else transformers"),
]
Host = Annotated[str, typer.Option(help="address to listen on")]
Port = Annotated[int, typer.Option(help="0 takes any free port")]
Type = Annotated[str, typer.Option("--type", help="GGUF type that a folder is converted to")]
Context = Annotated[int, typer.Option(help="tokens of one conversation")]
Draft = Annotated[str | None, typer.Option(help="small model for speculative decoding")]
DraftTokens = Annotated[int, typer.Option(help="tokens that it proposes at a time")]
Embeddings = Annotated[bool, typer.Option(help="serve /v1/embeddings")]


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
    draft_tokens: int = 4,
    vllm: str = "vllm",
) -> Engine:
    """The engine for a model, converted on first use where llama.cpp serves it."""
    from langraft.checkpoint.bases import resolve_base
    from langraft.core.errors import BadInput
    from langraft.core.messages import say

    called = name or Path(model).resolve().name.removesuffix(".gguf")
    if engine == "vllm":
        from langraft.serve.vllm import VllmEngine

        folder = resolve_base(model, Path())
        return VllmEngine(folder, called, context=context, slots=slots, program=vllm)
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
                draft_tokens=draft_tokens,
            )
        except BadInput as error:
            if engine == "llama" or model.endswith(".gguf"):
                raise
            say(f"llama.cpp cannot serve it, transformers does: {error}")
    from langraft.serve.local import TransformersEngine

    return TransformersEngine(
        resolve_base(model, Path()),
        called,
        context=context,
        draft=resolve_base(draft, Path()) if draft else None,
        draft_tokens=draft_tokens,
    )


@app.command("chat")
def chat_command(
    model: Model,
    max_new_tokens: Annotated[int, typer.Option(help="longest answer")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy")] = 0.7,
    system: Annotated[str | None, typer.Option(help="system message")] = None,
    engine: EngineName = "auto",
    type_: Type = "q8_0",
    context: Context = 4_096,
    draft: Draft = None,
    draft_tokens: DraftTokens = 4,
) -> None:
    """Talk to a model in the terminal; `/help` there lists what can be asked.

    Example: `langraft chat runs/quickstart-zh/pretrain-adapt`
    """
    from langraft.serve.chat import chat

    built = engine_of(
        model,
        engine,
        kind=type_,
        context=context,
        slots=1,
        draft=draft,
        draft_tokens=draft_tokens,
    )
    chat(built, max_new_tokens=max_new_tokens, temperature=temperature, system=system)


@app.command("serve")
def serve_command(
    model: Model,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    engine: EngineName = "auto",
    name: Annotated[str | None, typer.Option(help="what clients call the model")] = None,
    type_: Type = "q8_0",
    context: Context = 4_096,
    slots: Annotated[int, typer.Option(help="answers generated at the same time")] = 4,
    queue: Annotated[int, typer.Option(help="requests that may wait")] = 256,
    api_key: Annotated[
        list[str] | None, typer.Option(help="accepted keys", envvar="LANGRAFT_API_KEY")
    ] = None,
    cors: Annotated[list[str] | None, typer.Option(help="origins that browsers may use")] = None,
    embeddings: Embeddings = False,
    draft: Draft = None,
    draft_tokens: DraftTokens = 4,
    vllm: Annotated[str, typer.Option(help="the vllm command, in its environment")] = "vllm",
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
        draft_tokens=draft_tokens,
        vllm=vllm,
    )
    limits = Limits(queue=queue, keys=tuple(api_key or ()), origins=tuple(cors or ()))
    serve(built, host, port, limits)


@app.command("demo")
def demo_command(
    model: Model,
    base: Annotated[str | None, typer.Option(help="a second model, shown beside it")] = None,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    engine: EngineName = "auto",
    type_: Type = "q8_0",
    context: Context = 4_096,
    embeddings: Embeddings = False,
    draft: Draft = None,
    draft_tokens: DraftTokens = 4,
) -> None:
    """Chat with a model in the browser, with OpenAI's API beside the page; with --base, two models
    side by side.

    Example: `langraft demo runs/quickstart-zh/pretrain-adapt --base smollm2-135m`
    """
    from langraft.serve.demo import demo

    pairs = [(model, draft), *([(base, None)] if base else [])]
    models = [
        engine_of(
            *(one, engine),
            kind=type_,
            context=context,
            slots=2,
            embeddings=embeddings,
            draft=helper,
            draft_tokens=draft_tokens,
        )
        for one, helper in pairs
    ]
    demo(models, host, port)


@app.command("ask")
def ask_command(
    model: Model,
    docs: Annotated[Path, typer.Option(help="folder of txt, md, html, pdf and docx files")],
    question: Annotated[str | None, typer.Argument(help="none: summarise")] = None,
    mode: Annotated[
        Literal["stuff", "refine", "map-reduce"], typer.Option(help="how passages are read")
    ] = "stuff",
    passages: Annotated[int, typer.Option(help="passages that the answer may use")] = 4,
    embeddings: Annotated[
        bool, typer.Option(help="rank passages by the model's own vectors as well")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(help="longest answer")] = 256,
    engine: EngineName = "auto",
    context: Context = 4_096,
    json_: Json = False,
) -> None:
    """Answer a question from documents, with citations; without a question, summarise them.

    Example: `langraft ask runs/quickstart-zh/pretrain-adapt "第一条是什么？" --docs papers`
    """
    from langraft.serve.ask import ask

    built = engine_of(model, engine, slots=1, context=context, embeddings=embeddings)
    found = ask(
        *(built, docs, question),
        mode=mode,
        passages=passages,
        tokens=max_new_tokens,
        embeddings=embeddings,
    )
    answer(found, json_)
