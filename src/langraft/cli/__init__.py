"""The command line: one verb, one function, one file a room. Results go to stdout, everything else
to stderr.
"""

from __future__ import annotations

import logging
import os
import sys

import typer

from langraft.cli import (
    arena,
    checkpoint,
    corpus,
    data,
    evals,
    export,
    graft,
    plan,
    run,
    schema,
    serve,
    setup,
    tokenizer,
)
from langraft.core.errors import LangraftError
from langraft.core.messages import console

# Threads that spin while they wait for one another make a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# peft looks into torchao where it is installed, which complains of kernels for other GPUs.
for chatty in ("torchao", "torch.utils._pytree"):
    logging.getLogger(chatty).setLevel(logging.ERROR)

app = typer.Typer(
    name="langraft",
    help="Teach an existing open language model a new language.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
for verbs, name in (
    (setup.app, None),
    (run.app, None),
    (plan.app, None),
    (corpus.app, "corpus"),
    (tokenizer.app, "tokenizer"),
    (graft.app, None),
    (checkpoint.app, "checkpoint"),
    (evals.app, "eval"),
    (export.app, "export"),
    (serve.app, None),
    (arena.app, "arena"),
    (data.app, "data"),
    (schema.app, None),
):
    app.add_typer(verbs, name=name)


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
