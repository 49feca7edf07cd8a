"""Players for the arena's tests: an OpenAI-compatible server in this process with scripted
answers, and an arena's page on a free port.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn
import zstandard

from langraft.arena.players import Player, Settings
from langraft.arena.questions import Question
from langraft.arena.server import arena_app
from langraft.arena.store import Store

BANK = [
    Question("q1", "maths", "en", ("1+1?", "sure?")),
    Question("q2", "写作", "zh", ("写一句诗",)),
]
Script = Callable[[dict[str, Any]], Iterator[str]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": "scripted"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((body, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        script: Script = self.server.script  # type: ignore[attr-defined]
        pieces = script(body)
        try:
            first = next(pieces)
        except ValueError as error:
            self._send(int(str(error)), '{"error": {"message": "no"}}')
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
            for piece in itertools.chain([first], pieces):
                event = {"choices": [{"delta": {"content": piece}, "finish_reason": None}]}
                self._event(json.dumps(event))
            self._event(json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]}))
            usage = {"prompt_tokens": 10, "completion_tokens": 3}
            self._event(json.dumps({"choices": [], "usage": usage}))
            self._event("[DONE]")

    def _event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def _send(self, status: int, content: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@contextlib.contextmanager
def scripted(script: Script) -> Iterator[tuple[str, list[tuple[dict[str, Any], str | None]]]]:
    """A server whose answers come from `script` (a ValueError is a status); yields its address and
    the requests that it saw.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.script, server.seen = script, []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", server.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def echo(name: str) -> Script:
    """Answers with its name and the last message, in three pieces."""

    def script(body: dict[str, Any]) -> Iterator[str]:
        yield from (f"{name}: ", body["messages"][-1]["content"][:20], " <b>!</b>")

    return script


def stalling(seconds: float) -> Script:
    """Says one word and then nothing for `seconds`."""

    def script(_: dict[str, Any]) -> Iterator[str]:
        yield "well"
        time.sleep(seconds)
        yield "never"

    return script


@contextlib.contextmanager
def arena(
    store: Store, *, port: int = 0, per_minute: int = 10_000, **players: Player
) -> Iterator[str]:
    """The page of an arena, here and now; yields its address."""
    app = arena_app(store, players, BANK, Settings(max_tokens=9), per_minute=per_minute)
    config = uvicorn.Config(
        app, port=port, log_level="error", ws="none", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def bench_files(material: Path, folder: Path) -> None:
    """MT-bench's questions and references, and AlignBench, as they are: `questions`, `references`
    and `align` in `folder`.
    """
    wanted = {
        "mt_bench/question.jsonl": "questions",
        "mt_bench/reference_answer/gpt-4.jsonl": "references",
        "alignbench/data_v1.1_release.jsonl": "align",
    }
    archive = material / "benchmarks/benchmarks_dev.tar.zst"
    with (
        archive.open("rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for member in tar:
            name = member.name.removeprefix("./")
            if name in wanted:
                content = tar.extractfile(member)
                assert content is not None
                (folder / wanted[name]).write_bytes(content.read())
