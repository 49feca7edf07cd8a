"""The web demo: gradio over the engines, beside the API; nothing leaves the machine."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from html import escape, unescape
from typing import Any

import gradio as gr
from fastapi import FastAPI

from langraft.serve.api import build_api
from langraft.serve.engine import End, Engine, EngineError, Generation
from langraft.serve.http import run
from langraft.serve.limits import Limits
from langraft.serve.templates import fit

Turn = dict[str, Any]
SHARE_OF_CONTEXT = 0.9
# Chinese-LLaMA-Alpaca-2's demo has these: lowest, highest, at first, step.
SLIDERS: dict[str, tuple[str, float, float, float, float]] = {
    "tokens": ("New tokens", 1, 4096, 512, 1),
    "temperature": ("Temperature", 0, 2, 0.2, 0.05),
    "top_p": ("Top-p", 0.05, 1, 0.9, 0.05),
    "top_k": ("Top-k (0: all)", 0, 200, 40, 1),
    "repetition": ("Repetition penalty", 1, 2, 1.1, 0.05),
    "presence": ("Presence penalty", -2, 2, 0, 0.1),
    "memory": ("Tokens remembered", 128, 32768, 1024, 64),
    "guidance": ("Guidance (1: none)", 1, 3, 1, 0.05),
    "draft": ("Drafted tokens", 0, 16, 4, 1),
}


@dataclasses.dataclass(frozen=True)
class Controls:
    """What the page's boxes and sliders say; the names are those of SLIDERS."""

    system: str
    negative: str
    tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition: float
    presence: float
    memory: int
    guidance: float
    draft: int


NAMES = tuple(field.name for field in dataclasses.fields(Controls))


def plain(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The chat box's turns as messages: it gives a text as a list of parts, and escaped."""
    found = []
    for turn in turns:
        content = turn["content"]
        if not isinstance(content, str):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
        found.append({"role": str(turn["role"]), "content": unescape(content)})
    return found


async def wanted(engine: Engine, turns: Sequence[Mapping[str, Any]], set_: Controls) -> Generation:
    """The generation that continues the turns; the oldest of them are left out.

    Raises:
        EngineError: the template refuses them, or the last turn alone does not fit.
    """
    opening = [{"role": "system", "content": set_.system}] if set_.system.strip() else []
    tokens = int(min(set_.tokens, SHARE_OF_CONTEXT * engine.context))
    room = min(set_.memory, engine.context - tokens)
    fitted = await fit(engine, opening, plain(turns), room)
    if fitted.tokens > engine.context - tokens:
        raise EngineError(
            f"this message takes {fitted.tokens:,} tokens; {engine.context - tokens:,} fit beside "
            f"an answer of {tokens:,}",
            400,
        )
    negative = None
    if set_.guidance != 1 and engine.guides:
        against = [{"role": "system", "content": set_.negative}] if set_.negative.strip() else []
        negative = await engine.render([*against, *fitted.turns[-1:]])
    return Generation(
        fitted.prompt,
        tokens,
        temperature=set_.temperature,
        top_p=set_.top_p,
        top_k=int(set_.top_k),
        repetition_penalty=set_.repetition,
        presence_penalty=set_.presence,
        guidance=set_.guidance if engine.guides else 1.0,
        negative=negative,
        draft_tokens=int(set_.draft) if engine.drafts else None,
    )


def answering(engine: Engine) -> Callable[..., AsyncIterator[tuple[list[Turn], str]]]:
    """The function that streams an engine's answer into a chat box and its speed into a line."""

    async def answer(turns: list[Turn], *values: Any) -> AsyncIterator[tuple[list[Turn], str]]:
        if not turns or turns[-1]["role"] != "user":
            yield turns, ""
            return
        said, started = "", time.perf_counter()
        try:
            generation = await wanted(engine, turns, Controls(*values))
            async with contextlib.aclosing(engine.generate(generation)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, End):
                        yield [*turns, _turn(said)], _speed(piece, time.perf_counter() - started)
                    else:
                        said += piece.text
                        yield [*turns, _turn(said)], ""
        except EngineError as error:
            yield turns, f"Error: {error}"

    return answer


def _turn(text: str, role: str = "assistant") -> Turn:
    """A turn for the chat box, which drops what it takes for markup."""
    return {"role": role, "content": escape(text, quote=False)}


def _speed(end: End, seconds: float) -> str:
    drafted = f", {end.accepted} of {end.drafted} drafted tokens kept" if end.drafted else ""
    return (
        f"{end.completion_tokens} tokens, {end.completion_tokens / seconds:.1f} a second{drafted}"
    )


def asked(text: str, *boxes: list[Turn]) -> tuple[Any, ...]:
    """An empty input box, and the question in every chat box."""
    if not text.strip():
        return ("", *boxes)
    return ("", *([*turns, _turn(text, "user")] for turns in boxes))


def unanswered(*boxes: list[Turn]) -> Any:
    """Every chat box without its last answer."""
    cut = [turns[:-1] if turns and turns[-1]["role"] == "assistant" else turns for turns in boxes]
    return cut[0] if len(cut) == 1 else tuple(cut)


def _page(engines: Sequence[Engine], controls: Sequence[Any], label: str) -> None:
    """One tab: a chat box an engine, one input for all."""
    boxes: list[gr.Chatbot] = []
    speeds: list[gr.Textbox] = []
    with gr.Row():
        for engine in engines:
            with gr.Column():
                boxes.append(
                    gr.Chatbot(
                        label=engine.name,
                        elem_id=f"{label}-{len(boxes)}",
                        render_markdown=False,
                        sanitize_html=True,
                        allow_tags=False,
                        feedback_options=None,
                        buttons=["copy"],
                        height=420,
                    )
                )
                speeds.append(gr.Textbox(show_label=False, container=False, interactive=False))
    text = gr.Textbox(
        label="Message", lines=1, max_lines=12, elem_id=f"{label}-text", submit_btn=True
    )
    with gr.Row():
        stop = gr.Button("Stop", elem_id=f"{label}-stop")
        again = gr.Button("Regenerate", elem_id=f"{label}-again")
        clear = gr.Button("Clear", elem_id=f"{label}-clear")
    first = text.submit(asked, [text, *boxes], [text, *boxes], queue=False)
    retry = again.click(unanswered, boxes, boxes, queue=False)
    running = [
        start.then(
            answering(engine), [box, *controls], [box, speed], concurrency_limit=engine.slots
        )
        for start in (first, retry)
        for engine, box, speed in zip(engines, boxes, speeds, strict=True)
    ]
    stop.click(None, cancels=running)
    clear.click(lambda: [[] for _ in boxes] if len(boxes) > 1 else [], None, boxes, cancels=running)


def pages(engines: Sequence[Engine]) -> gr.Blocks:
    """The whole page: a chat with the first engine and, with two, both side by side."""
    with gr.Blocks(title="langraft demo", analytics_enabled=False) as blocks:
        with gr.Accordion("Settings", open=False, render=False) as settings:
            system = gr.Textbox(label="System prompt", lines=2, elem_id="system")
            negative = gr.Textbox(
                label="Negative prompt", lines=2, visible=any(engine.guides for engine in engines)
            )
            shown = {
                "guidance": any(engine.guides for engine in engines),
                "draft": any(engine.drafts for engine in engines),
            }
            sliders = [
                gr.Slider(low, high, value, step=step, label=label, visible=shown.get(name, True))
                for name, (label, low, high, value, step) in SLIDERS.items()
            ]
        controls = [system, negative, *sliders]
        assert len(controls) == len(NAMES)
        with gr.Tab("Chat"):
            _page(engines[:1], controls, "chat")
        if len(engines) > 1:
            with gr.Tab("Side by side"):
                _page(engines[::-1], controls, "side")
        settings.render()
    return blocks


def build_demo(engines: Sequence[Engine]) -> FastAPI:
    """One application: the first engine's API at /v1, further ones below /other1, the page at /."""
    app = build_api(engines[0], Limits(), others=engines[1:])
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return gr.mount_gradio_app(
        app,
        pages(engines),
        path="/",
        theme=theme,
        footer_links=[],
        show_error=True,
        ssr_mode=False,
        mcp_server=False,
    )


def demo(engines: Sequence[Engine], host: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        BadInput: nothing can be bound there.
        RunFailed: an engine cannot load its model.
    """
    run(build_demo(engines), ", ".join(engine.name for engine in engines), host, port)
