"""The server around the API: uvicorn, with a limit for clients that never finish their headers."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from rich.markup import escape
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from langraft.core.errors import BadInput
from langraft.core.messages import say, warn
from langraft.serve.api import build_api
from langraft.serve.engine import Engine
from langraft.serve.limits import Limits

HEADER_SECONDS = 10.0
SHUTDOWN_SECONDS = 60
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Patient(HttpToolsProtocol):
    """Closes a connection that sends no complete request head within HEADER_SECONDS."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._clock = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._late)

    def _late(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._clock.cancel()
        super().connection_lost(exc)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        BadInput: the port is taken, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BadInput(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); "
            "choose another --port"
        ) from error
    return listener


def configured(app: FastAPI) -> uvicorn.Server:
    """The server for an application: streams are finished before it goes."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Patient,
            loop="uvloop",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )


def serve(engine: Engine, host: str, port: int, limits: Limits) -> None:
    """Serve until Ctrl-C or SIGTERM; running streams are finished first.

    Raises:
        BadInput: nothing can be bound there.
        RunFailed: the engine cannot load its model.
    """
    if host not in LOOPBACK and not limits.keys:
        warn(f"--host {host}: everyone who reaches this machine may use the model; give --api-key")
    run(build_api(engine, limits), engine.name, host, port)


def run(app: FastAPI, name: str, host: str, port: int) -> None:
    """Run an application until Ctrl-C or SIGTERM.

    Raises:
        BadInput: nothing can be bound there.
    """
    with bind(host, port) as listener:
        place = f"http://{host}:{listener.getsockname()[1]}"
        # uvicorn finishes the streams and then sends itself the signal again, for whoever was here
        # before it; nobody was, and an orderly end is exit code 0.
        signal.signal(signal.SIGTERM, lambda *_: None)
        say(f"loading {escape(name)}; then: {place}  (API: {place}/v1)")
        configured(app).run(sockets=[listener])
