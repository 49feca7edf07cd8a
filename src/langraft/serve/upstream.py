"""A small HTTP client for the engine's process: one request a connection, so that closing it is
what cancels the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httptools
from pydantic_core import from_json

from langraft.serve.engine import EngineError

CONNECT_SECONDS = 5.0
# llama.cpp's server has so many threads beside those of its slots, and lets few connections wait.
CALLS = 8
DEAD = "the engine stopped while it worked on this request; it is being restarted, try again"


class Upstream:
    """One server that takes JSON and answers with JSON or server-sent events."""

    def __init__(self, place: tuple[str, int] | Path, key: str) -> None:
        """`place` is a host and a port, or a Unix socket, which costs both sides a fraction of the
        processor time.
        """
        self._place, self._key = place, key
        self._calls = asyncio.Semaphore(CALLS)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; at most CALLS at a time, the others wait here.

        Raises:
            EngineError: the server refused, or its process is gone.
        """
        async with self._calls, self._asked(method, path, body) as answer:
            content = await answer.rest()
        if answer.status >= 400:
            raise _refusal(answer.status, content)
        return json.loads(content)

    async def events(self, path: str, body: Any) -> AsyncGenerator[Mapping[str, Any], None]:
        """The `data:` objects of an event stream.

        Raises:
            EngineError: as `call`; also when the stream breaks off.
        """
        async with self._asked("POST", path, body) as answer:
            if answer.status >= 400:
                raise _refusal(answer.status, await answer.rest())
            rest = b""
            while part := await answer.part():
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                        yield from_json(line[6:])
                    elif line.startswith(b"error: "):
                        raise _refusal(500, line[7:])

    @contextlib.asynccontextmanager
    async def _asked(self, method: str, path: str, body: Any) -> AsyncIterator[_Answer]:
        """The answer to a request, its status known."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {self._key}"
            f"\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            "Connection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                transport, answer = await self._connect()
        except (OSError, TimeoutError) as error:
            raise EngineError("the engine is not running", 503, "engine_unavailable") from error
        try:
            transport.write(head.encode() + content)
            await answer.begin()
            yield answer
        except ValueError as error:
            raise EngineError(DEAD, 503, "engine_unavailable") from error
        finally:
            transport.close()

    async def _connect(self) -> tuple[asyncio.WriteTransport, _Answer]:
        loop = asyncio.get_running_loop()
        if isinstance(self._place, Path):
            return await loop.create_unix_connection(_Answer, str(self._place))
        return await loop.create_connection(_Answer, *self._place)


class _Answer(asyncio.Protocol):
    """An HTTP answer as it arrives. What nobody has taken yet waits here without a limit: it is at
    most one answer of a model.
    """

    def __init__(self) -> None:
        self.status = 0
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._complete = self._lost = False
        self._waiter: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        """Wait for the status."""
        while not self.status:
            await self._more()

    async def part(self) -> bytes:
        """All that has arrived of the body since the last call, at least a byte; none at the end.

        Raises:
            EngineError: the connection broke before the end.
        """
        while not self._parts:
            if self._complete:
                return b""
            await self._more()
        found = b"".join(self._parts)
        self._parts.clear()
        return found

    async def rest(self) -> bytes:
        """The rest of the body."""
        while not self._complete:
            await self._more()
        return await self.part()

    async def _more(self) -> None:
        if self._lost:
            raise EngineError(DEAD, 503, "engine_unavailable")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        """From the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._lost = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """From the connection."""
        self._lost = True
        self._wake()

    def on_headers_complete(self) -> None:
        """From the parser."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """From the parser."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """From the parser."""
        self._complete = True


CODES = {"exceed_context_size_error": "context_length_exceeded"}


def _refusal(status: int, content: bytes) -> EngineError:
    try:
        error = json.loads(content)
        error = error.get("error", error)
        message, kind = str(error["message"]), str(error.get("type", ""))
    except (ValueError, KeyError, AttributeError, TypeError):
        message, kind = content.decode(errors="replace")[:500], ""
    if status == 503:
        return EngineError(message, 503, "engine_unavailable")
    own = CODES.get(kind, "invalid_request_error" if status < 500 else "engine_error")
    return EngineError(message, 400 if status < 500 else 500, own)
