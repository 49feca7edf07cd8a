"""The web demo: one plain page over the API's own routes, nothing fetched from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from langraft.serve.api import build_api
from langraft.serve.engine import Engine
from langraft.serve.http import run
from langraft.serve.limits import Limits

# The page may talk to this server only, runs no script but its own, and cannot be framed.
POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page(models: Sequence[tuple[str, str]]) -> str:
    """The page for models, each a name and the path of its API."""
    template = resources.files("langraft.serve").joinpath("demo.html").read_text(encoding="utf-8")
    listed = json.dumps([{"name": name, "path": path} for name, path in models])
    return template.replace("MODELS_HERE", listed.replace("<", "\\u003c"))


def add_page(app: FastAPI, models: Sequence[tuple[str, str]]) -> None:
    """Serve the page at `/`."""
    html = page(models)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(
            html,
            headers={
                "Content-Security-Policy": POLICY,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
            },
        )


def build_demo(engines: Sequence[Engine]) -> FastAPI:
    """One application: the first engine's API at /v1, the page at /, a second engine at /other."""
    app = build_api(engines[0], Limits(), others=engines[1:])
    paths = ["", *(f"/other{n}" for n in range(1, len(engines)))]
    add_page(app, [(engine.name, path) for engine, path in zip(engines, paths, strict=True)])
    return app


def demo(engines: Sequence[Engine], host: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        BadInput: nothing can be bound there.
    """
    run(build_demo(engines), ", ".join(engine.name for engine in engines), host, port)
