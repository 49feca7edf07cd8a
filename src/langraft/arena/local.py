"""Models on this machine as players: each is `langraft serve` in a process of its own, on a free
port, with a key that nobody else has.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO

import httpx2
from rich.markup import escape

from langraft.arena.players import Endpoint, Message, Player, Settings, Usage, endpoint
from langraft.core.errors import BadInput, LangraftError, RunFailed
from langraft.core.messages import say

# The first start of a folder converts it to GGUF.
START_SECONDS, STOP_SECONDS, LOOK_SECONDS = 1800.0, 5.0, 0.1
SLOTS = 4
BAD_INPUT = 2


class Local:
    """A folder, a `.gguf` file or a named base, served when it is first needed.

    Args:
        name: how the table calls it.
        model: what `langraft serve` takes.
        patience: seconds without a new piece after which it counts as stalled.
    """

    def __init__(self, name: str, model: str, patience: float = 60.0) -> None:
        self.name, self._model, self._patience = name, model, patience
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint: Endpoint | None = None
        self._said: IO[bytes] | None = None

    def start(self) -> Endpoint:
        """The running model; the first call starts it and waits until it answers.

        Raises:
            BadInput: `langraft serve` does not take this model.
            RunFailed: it stopped, or did not answer in time.
        """
        with self._lock:
            if self._endpoint is not None and self._process and self._process.poll() is None:
                return self._endpoint
            key, port = secrets.token_hex(16), _free_port()
            self._endpoint = Endpoint(
                self.name, f"http://127.0.0.1:{port}/v1", self.name, key, self._patience
            )
            say(f"loading {escape(self.name)} ({escape(self._model)})")
            self._process = self._launched(key, port)
            try:
                self._wait(self._process, f"http://127.0.0.1:{port}/v1/models", key)
            except BaseException:
                _end(self._process)
                raise
            return self._endpoint

    def _launched(self, key: str, port: int) -> subprocess.Popen[bytes]:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        options = [f"--port={port}", f"--name={self.name}", f"--slots={SLOTS}"]
        return subprocess.Popen(
            [sys.executable, "-m", "langraft.arena.host", "serve", *options, "--", self._model],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            # Wide, so that its message stays on one line.
            env={**os.environ, "LANGRAFT_API_KEY": key, "COLUMNS": "1000"},
            start_new_session=True,  # Ctrl-C reaches us alone; closing stdin ends it
        )

    def _wait(self, process: subprocess.Popen[bytes], url: str, key: str) -> None:
        limit = time.monotonic() + START_SECONDS
        headers = {"Authorization": f"Bearer {key}"}
        while time.monotonic() < limit:
            if (code := process.poll()) is not None:
                failure: type[LangraftError] = BadInput if code == BAD_INPUT else RunFailed
                raise failure(
                    f"{self.name}: `langraft serve {self._model}` stopped with code {code}: "
                    f"{self._last_words()}"
                )
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(url, headers=headers, timeout=5).status_code == 200:
                    return
            time.sleep(LOOK_SECONDS)
        raise RunFailed(f"{self.name}: {self._model} did not load within {START_SECONDS:g} s")

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").split("\n")
        return " ".join(line.strip() for line in lines[-6:] if line.strip()) or "it said nothing"

    def stream(
        self, messages: Sequence[Message], settings: Settings
    ) -> Generator[str, None, Usage]:
        """See `Player.stream`."""
        return (yield from self.start().stream(messages, settings))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is not None:
                _end(self._process)
            if self._endpoint is not None:
                self._endpoint.close()
            if self._said is not None:
                self._said.close()
            self._process = self._endpoint = self._said = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def player(spec: str, key: str = "", patience: float = 60.0) -> Player:
    """`NAME=MODEL` or `MODEL`, where a model is an API's address (see `endpoint`) or what
    `langraft serve` takes: a folder, a `.gguf` file or a named base.

    Raises:
        BadInput: an address that does not answer.
    """
    before, equals, after = spec.partition("=")
    named = bool(equals) and "/" not in before and not Path(spec).exists()
    name, model = (before, after) if named else ("", spec)
    if model.startswith(("http://", "https://")):
        return endpoint(name, model, key, patience)
    return Local(name or Path(model).resolve().name.removesuffix(".gguf"), model, patience)
