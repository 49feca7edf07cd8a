"""One request's work: generations in slots, merged, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic_core import to_json

from langraft.serve.deadline import Deadline
from langraft.serve.engine import End, Engine, EngineError, Generation, Piece, TokenProbability
from langraft.serve.limits import Admission, Limits, error_body
from langraft.serve.metrics import Metrics
from langraft.serve.replies import Shape
from langraft.serve.requests import Sampled

CLIENT_LEFT = 499
DONE = b"data: [DONE]\n\n"


@dataclasses.dataclass
class Service:
    """What the routes share."""

    engine: Engine
    limits: Limits
    metrics: Metrics
    admission: Admission
    started: int = dataclasses.field(default_factory=lambda: int(time.time()))

    def check_model(self, name: str) -> None:
        """Raises EngineError (404) when the request names another model."""
        if name != self.engine.name:
            raise EngineError(
                f"the model {name!r} does not exist; this server has {self.engine.name!r}",
                404,
                "model_not_found",
            )

    async def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        """One generation in a slot, within its time.

        Raises:
            EngineError: the engine's, or the answer took too long (504).
        """
        with contextlib.closing(self.deadline()) as deadline:
            async with (
                self.slot(deadline),
                contextlib.aclosing(self.engine.generate(wanted)) as pieces,
            ):
                while True:
                    with deadline:
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    if isinstance(piece, End):
                        self.metrics.prompt_tokens += piece.prompt_tokens
                        self.metrics.completion_tokens += piece.completion_tokens
                    yield piece

    def deadline(self) -> Deadline:
        """When a request that comes now has taken too long."""
        return Deadline(self.limits.request_seconds)

    @contextlib.asynccontextmanager
    async def slot(self, deadline: Deadline) -> AsyncIterator[None]:
        """Wait for a slot, and hold it."""
        async with contextlib.AsyncExitStack() as stack:
            with deadline:
                await stack.enter_async_context(self.admission.slot())
            yield

    async def fitting(self, prompt: str | Sequence[int], tokens: int | None) -> int:
        """Tokens that may be generated.

        Raises:
            EngineError: prompt and answer do not fit into the context.
        """
        if tokens is not None and self.engine.most(prompt) + max(1, tokens) <= self.engine.context:
            return tokens
        room = self.engine.context - await self.engine.count(prompt)
        if room < max(1, tokens or 1):
            raise EngineError(
                f"this model's context is {self.engine.context:,} tokens; the prompt takes "
                f"{self.engine.context - room:,} and {tokens or 1:,} were asked for",
                400,
                "context_length_exceeded",
            )
        return room if tokens is None else tokens


async def answer(
    service: Service,
    request: Request,
    body: Sampled,
    shape: Shape,
    prompts: Sequence[Generation],
    echoes: Sequence[str],
) -> Response:
    """`n` choices of every prompt; choice i belongs to prompt i // n."""
    copies = body.n or 1
    wanted = [
        dataclasses.replace(one, seed=None if one.seed is None else (one.seed + k) % 2**32)
        for one in prompts
        for k in range(copies)
    ]
    echo = [text for text in echoes for _ in range(copies)]
    service.admission.check(len(wanted))
    if not body.stream:
        return await _unless_gone(service, request, _whole(service, shape, wanted, echo, copies))
    usage = body.stream_options is not None and body.stream_options.include_usage
    events = _events(service, shape, wanted, echo, copies if usage else 0)
    # The first event is waited for, so that a refusal is an HTTP error and not a broken stream.
    first = await anext(events)
    return StreamingResponse(_sse(service, first, events), media_type="text/event-stream")


async def _unless_gone(service: Service, request: Request, work: Any) -> Response:
    """The answer, or nothing as soon as the client has hung up: its slots are free at once."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return JSONResponse(task.result())
        service.metrics.cancelled += 1
        return Response(status_code=CLIENT_LEFT)
    finally:
        await _end([task, watcher])


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _whole(
    service: Service, shape: Shape, wanted: Sequence[Generation], echo: Sequence[str], copies: int
) -> dict[str, Any]:
    async def one(generation: Generation, text: str) -> tuple[str, list[TokenProbability], End]:
        tokens: list[TokenProbability] = []
        if generation.max_tokens == 0:
            return text, tokens, End("length", await service.engine.count(generation.prompt), 0)
        async for piece in service.generate(generation):
            if isinstance(piece, End):
                return text, tokens, piece
            text += piece.text
            tokens += piece.tokens
        raise AssertionError("a generation ends with End")

    tasks = [asyncio.create_task(one(g, t)) for g, t in zip(wanted, echo, strict=True)]
    try:
        choices = await asyncio.gather(*tasks)
    finally:
        await _end(tasks)
    return shape.complete(choices, _counted([end for _, _, end in choices], copies))


def _counted(ends: Sequence[End], copies: int) -> list[End]:
    return [
        dataclasses.replace(end, prompt_tokens=end.prompt_tokens if n % copies == 0 else 0)
        for n, end in enumerate(ends)
    ]


async def _events(
    service: Service, shape: Shape, wanted: Sequence[Generation], echo: Sequence[str], usage: int
) -> AsyncGenerator[bytes, None]:
    """Every choice's server-sent events, those that come together as one; `usage` choices share a
    prompt, 0 for no counts.
    """
    ends: dict[int, End] = {}
    async with contextlib.aclosing(_merged(service, wanted)) as merged:
        started, lengths = time.monotonic(), [0] * len(wanted)
        opened: set[int] = set()
        async for index, piece in merged:
            chunks = []
            if index not in opened:
                if not opened:
                    service.metrics.first_text(started)
                opened.add(index)
                chunks += shape.opening(index)
                if echo[index]:
                    chunks.append(shape.part(index, Piece(echo[index]), 0))
                    lengths[index] += len(echo[index])
            if isinstance(piece, End):
                ends[index] = piece
                chunks.append(shape.last(index, piece.reason))
            else:
                chunks.append(shape.part(index, piece, lengths[index]))
                lengths[index] += len(piece.text)
            if usage and len(ends) == len(wanted):
                chunks.append(shape.usage(_counted([ends[n] for n in sorted(ends)], usage)))
            done = DONE if len(ends) == len(wanted) else b""
            yield b"".join([_event(chunk) for chunk in chunks]) + done


async def _merged(
    service: Service, wanted: Sequence[Generation]
) -> AsyncGenerator[tuple[int, Piece | End], None]:
    """The pieces of all choices in the order of their coming."""
    if len(wanted) == 1:
        async with contextlib.aclosing(service.generate(wanted[0])) as pieces:
            async for piece in pieces:
                yield 0, piece
        return
    queue: asyncio.Queue[tuple[int, Piece | End | EngineError]] = asyncio.Queue()

    async def pump(index: int, generation: Generation) -> None:
        try:
            async for piece in service.generate(generation):
                await queue.put((index, piece))
        except EngineError as error:
            await queue.put((index, error))

    tasks = [asyncio.create_task(pump(n, g)) for n, g in enumerate(wanted)]
    try:
        left = len(tasks)
        while left:
            index, found = await queue.get()
            if isinstance(found, EngineError):
                raise found
            left -= isinstance(found, End)
            yield index, found
    finally:
        await _end(tasks)


async def _sse(
    service: Service, first: bytes, events: AsyncGenerator[bytes, None]
) -> AsyncIterator[bytes]:
    """The events; an error after the start is an event of its own, then the end."""
    finished = False
    try:
        yield first
        async for event in events:
            yield event
        finished = True
    except EngineError as error:
        finished = True
        yield _event(error_body(str(error), error.status, error.code))
    finally:
        service.metrics.cancelled += not finished
        await events.aclose()


def _event(value: Any) -> bytes:
    return b"data: " + to_json(value) + b"\n\n"
