"""A conversation as one text, and as much of it as fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from langraft.serve.engine import Engine


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """The messages through the tokenizer's chat template, ready to be continued.

    Without a template the conversation is one growing text: answers follow at once, everything
    else begins a line.

    Raises:
        jinja2.TemplateError: the template refuses the messages.
    """
    plain = [dict(message) for message in messages]
    if tokenizer.chat_template is None:
        return growing_text(plain)
    return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))


def growing_text(messages: Sequence[Mapping[str, str]]) -> str:
    """The messages without a template."""
    parts = [("" if m["role"] == "assistant" else "\n") + m["content"] for m in messages]
    return "".join(parts).removeprefix("\n")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A prompt, its tokens, and the turns that are in it."""

    prompt: str
    tokens: int
    turns: list[dict[str, str]]


async def fit(
    engine: Engine,
    opening: Sequence[Mapping[str, str]],
    turns: Sequence[dict[str, str]],
    room: int,
) -> Fitted:
    """The conversation without its oldest pairs of turns, so that `room` tokens hold it.

    The last turn is always kept, whether it fits or not.

    Raises:
        EngineError: the chat template refuses the messages.
    """
    kept = list(turns)
    while True:
        prompt = await engine.render([*opening, *kept])
        tokens = await engine.count(prompt)
        if tokens <= room or len(kept) <= 1:
            return Fitted(prompt, tokens, kept)
        kept = kept[2:]
