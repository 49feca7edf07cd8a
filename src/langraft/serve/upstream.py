"""A small HTTP client for the engine's process: one request a connection, so that closing it is
what cancels the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from langraft.serve.engine import EngineError

CONNECT_SECONDS = 5.0
LONGEST_LINE = 1 << 24
# llama.cpp's server has so many threads beside those of its slots, and lets few connections wait.
CALLS = 8
DEAD = "the engine stopped while it worked on this request; it is being restarted, try again"


class Upstream:
    """One server at host:port that takes JSON and answers with JSON or server-sent events."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._host, self._port, self._key = host, port, key
        self._calls = asyncio.Semaphore(CALLS)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; at most CALLS at a time, the others wait here.

        Raises:
            EngineError: the server refused, or its process is gone.
        """
        async with self._calls, self._open(method, path, body) as (status, chunks):
            content = b"".join([chunk async for chunk in chunks])
        if status >= 400:
            raise _refusal(status, content)
        return json.loads(content)

    async def events(self, path: str, body: Any) -> AsyncGenerator[Mapping[str, Any], None]:
        """The `data:` objects of an event stream.

        Raises:
            EngineError: as `call`; also when the stream breaks off.
        """
        async with self._open("POST", path, body) as (status, chunks):
            if status >= 400:
                raise _refusal(status, b"".join([chunk async for chunk in chunks]))
            rest = b""
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                        yield json.loads(line[6:])
                    elif line.startswith(b"error: "):
                        raise _refusal(500, line[7:])

    @contextlib.asynccontextmanager
    async def _open(
        self, method: str, path: str, body: Any
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._key}"
            f"\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            "Connection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    self._host, self._port, limit=LONGEST_LINE
                )
        except (OSError, TimeoutError) as error:
            raise EngineError("the engine is not running", 503, "engine_unavailable") from error
        try:
            writer.write(head.encode() + content)
            status, headers = await _head(reader)
            yield status, _body(reader, headers)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise EngineError(DEAD, 503, "engine_unavailable") from error
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split(" ", 2)[1]), {k.lower(): v.strip() for k, _, v in fields}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while chunk := await reader.read(1 << 16):
            yield chunk


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
