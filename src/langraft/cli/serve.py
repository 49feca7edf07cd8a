"""The verbs that talk to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


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
