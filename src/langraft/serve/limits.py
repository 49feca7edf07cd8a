"""What keeps one client from the others' service: queue, body size, time, keys."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langraft.serve.engine import EngineError
from langraft.serve.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class Limits:
    """Settings of the API.

    Attributes:
        queue: requests that may wait when all slots work; the next one gets 429.
        body_bytes: the largest request body.
        body_seconds: how long a client may take to send the body.
        request_seconds: how long one answer may take.
        keys: accepted API keys; empty: no key is asked for.
        origins: origins that browsers may call from (CORS); empty: none.
    """

    queue: int = 256
    body_bytes: int = 2_000_000
    body_seconds: float = 20.0
    request_seconds: float = 600.0
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


class Admission:
    """At most `slots` generations at a time, and at most `queue` waiting."""

    def __init__(self, slots: int, queue: int, metrics: Metrics) -> None:
        self._free = asyncio.Semaphore(slots)
        self._slots, self._queue, self._metrics = slots, queue, metrics
        self._inside = 0

    def check(self, wanted: int) -> None:
        """Refuse now what would have to wait too long.

        Raises:
            EngineError: the queue is full (429).
        """
        if self._inside + wanted > self._slots + self._queue:
            raise EngineError(
                f"{self._inside} requests are ahead; try again in a moment", 429, "queue_full"
            )

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        self._inside += 1
        self._metrics.waiting += 1
        try:
            try:
                await self._free.acquire()
            finally:
                self._metrics.waiting -= 1
            self._metrics.running += 1
            try:
                yield
            finally:
                self._metrics.running -= 1
                self._free.release()
        finally:
            self._inside -= 1


def error_body(message: str, status: int, code: str | None = None, param: str | None = None) -> Any:
    """OpenAI's error shape."""
    kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Gate:
    """In front of the application: API keys, body size, body time; it counts the requests."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(scope, message["status"])
            await send(message)

        if scope["path"].startswith("/v1/") and not self._known(headers):
            await _refuse(counted, 401, "wrong or missing API key", "invalid_api_key")
            return
        try:
            replay = await self._read(headers, receive)
        except EngineError as error:
            await _refuse(counted, error.status, str(error), error.code)
            return
        await self._app(scope, replay, counted)

    def _known(self, headers: dict[bytes, bytes]) -> bool:
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        keys = self._limits.keys
        return not keys or any(hmac.compare_digest(given, key.encode()) for key in keys)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """The whole body, read within the limits, and a `receive` that gives it again."""
        limit = self._limits.body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        chunks, more = [], True
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > limit:
                        raise _too_large(limit)
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise EngineError("the request's body did not arrive", 408, "timeout") from error
        waiting = [b"".join(chunks)]

        async def replay() -> Message:
            if waiting:
                return {"type": "http.request", "body": waiting.pop(), "more_body": False}
            return await receive()

        return replay


def _too_large(limit: int) -> EngineError:
    return EngineError(f"the request is larger than {limit:,} bytes", 413, "request_too_large")


async def _refuse(send: Send, status: int, message: str, code: str) -> None:
    content = json.dumps(error_body(message, status, code)).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
