"""The API: OpenAI's routes over an engine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from importlib import metadata
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from langraft.serve.engine import End, Engine, EngineError, Generation, Piece, TokenProbability
from langraft.serve.limits import Admission, Gate, Limits, error_body
from langraft.serve.metrics import Metrics
from langraft.serve.replies import ChatShape, Shape
from langraft.serve.requests import Chat, Completion, Embedding, Sampled

DEFAULT_TOKENS = 16  # OpenAI's default for /v1/completions
RETRY_AFTER = "2"
CLIENT_LEFT = 499


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
        """One generation in a slot, within its time."""
        async with (
            asyncio.timeout(self.limits.request_seconds),
            self.admission.slot(),
            contextlib.aclosing(self.engine.generate(wanted)) as pieces,
        ):
            async for piece in pieces:
                if isinstance(piece, End):
                    self.metrics.prompt_tokens += piece.prompt_tokens
                    self.metrics.completion_tokens += piece.completion_tokens
                yield piece

    async def fitting(self, prompt: str | Sequence[int], tokens: int | None) -> int:
        """Tokens that may be generated.

        Raises:
            EngineError: prompt and answer do not fit into the context.
        """
        room = self.engine.context - await self.engine.count(prompt)
        if room < max(1, tokens or 1):
            raise EngineError(
                f"this model's context is {self.engine.context:,} tokens; the prompt takes "
                f"{self.engine.context - room:,} and {tokens or 1:,} were asked for",
                400,
                "context_length_exceeded",
            )
        return room if tokens is None else tokens


def build_api(
    engine: Engine, limits: Limits | None = None, others: Sequence[Engine] = ()
) -> FastAPI:
    """The application; its engines are started and stopped with it.

    Args:
        others: further engines, served below /other1, /other2 and so on.
    """
    limits = limits or Limits()
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for one in (engine, *others):
                await one.start()
                stack.push_async_callback(one.stop)
            yield

    app = FastAPI(
        title="langraft",
        version=metadata.version("langraft"),
        lifespan=lifespan,
        docs_url=None,  # their pages would load scripts from elsewhere
        redoc_url=None,
    )
    _add_errors(app)
    for number, one in enumerate((engine, *others)):
        admission = Admission(one.slots, limits.queue, metrics)
        prefix = f"/other{number}" if number else ""
        app.include_router(_routes(Service(one, limits, metrics, admission)), prefix=prefix)
    app.add_middleware(Gate, limits=limits, metrics=metrics)
    if limits.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(limits.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or None
        message = f"{place}: {first['msg']}" if place else str(first["msg"])
        return JSONResponse(error_body(message, 400, "invalid_value", place), 400)

    @app.exception_handler(EngineError)
    async def engine_error(request: Request, error: EngineError) -> Response:
        return _error(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return JSONResponse(
            error_body(message, error.status_code), error.status_code, headers=error.headers
        )


def _error(error: EngineError) -> Response:
    headers = {"Retry-After": RETRY_AFTER} if error.status in (429, 503) else None
    body = error_body(str(error), error.status, error.code)
    return JSONResponse(body, error.status, headers=headers)


def _routes(service: Service) -> APIRouter:
    app = APIRouter()
    problems: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"application/json": {}}}
        for status, text in ERRORS.items()
    }

    @app.get("/health", responses=problems)
    async def health() -> Response:
        alive = await service.engine.alive()
        return JSONResponse({"status": "ok" if alive else "starting"}, 200 if alive else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        return service.metrics.text()

    @app.get("/v1/models", responses=problems)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(service)]}

    @app.get("/v1/models/{name:path}", responses=problems)
    async def model(name: str) -> dict[str, Any]:
        service.check_model(name)
        return _model(service)

    @app.post("/v1/completions", responses=problems, response_model=None)
    async def completions(request: Request, body: Completion) -> Response:
        service.check_model(body.model)
        wanted = [
            await _generation(service, body, prompt, _tokens(body.max_tokens, DEFAULT_TOKENS))
            for prompt in body.prompts
        ]
        echoes = [await _text(service, w.prompt) if body.echo else "" for w in wanted]
        return await _answer(service, request, body, Shape(body.model), wanted, echoes)

    @app.post("/v1/chat/completions", responses=problems, response_model=None)
    async def chat(request: Request, body: Chat) -> Response:
        service.check_model(body.model)
        prompt = await service.engine.render([message.plain() for message in body.messages])
        tokens = body.max_completion_tokens or body.max_tokens or None
        wanted = await _generation(service, body, prompt, tokens)
        return await _answer(service, request, body, ChatShape(body.model), [wanted], [""])

    @app.post("/v1/embeddings", responses=problems, response_model=None)
    async def embeddings(body: Embedding) -> Response:
        service.check_model(body.model)
        return await _embeddings(service, body)

    return app


ERRORS = {
    400: "the request cannot be honoured",
    401: "wrong or missing API key",
    404: "no such model",
    408: "the request did not arrive in time",
    413: "the request is too large",
    429: "too many requests wait",
    501: "not supported by this server",
    503: "the engine is starting",
}


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.engine.name,
        "object": "model",
        "created": service.started,
        "owned_by": "langraft",
    }


def _tokens(asked: int | None, default: int) -> int:
    return default if asked is None else asked


async def _text(service: Service, prompt: str | Sequence[int]) -> str:
    return prompt if isinstance(prompt, str) else await service.engine.spell(prompt)


async def _generation(
    service: Service, body: Sampled, prompt: str | list[int], tokens: int | None
) -> Generation:
    top = body.logprobs if isinstance(body, Completion) else None
    if isinstance(body, Chat) and body.logprobs:
        top = body.top_logprobs or 0
    return Generation(
        prompt,
        await service.fitting(prompt, tokens),
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=body.stops,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        logit_bias={int(key): value for key, value in (body.logit_bias or {}).items()},
        top_logprobs=top,
        schema=(
            body.response_format.schema_wanted
            if isinstance(body, Chat) and body.response_format
            else None
        ),
    )


async def _answer(
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
    except TimeoutError as error:
        raise EngineError("the answer took too long", 504, "timeout") from error
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
) -> AsyncGenerator[dict[str, Any], None]:
    """Every choice's chunks as they come; `usage` choices share a prompt, 0 for no counts."""
    ends: dict[int, End] = {}
    async with contextlib.aclosing(_merged(service, wanted)) as merged:
        started, lengths = time.monotonic(), [0] * len(wanted)
        opened: set[int] = set()
        async for index, piece in merged:
            if index not in opened:
                if not opened:
                    service.metrics.first_text(started)
                opened.add(index)
                for chunk in shape.opening(index):
                    yield chunk
                if echo[index]:
                    yield shape.part(index, Piece(echo[index]), 0)
                    lengths[index] += len(echo[index])
            if isinstance(piece, End):
                ends[index] = piece
                yield shape.last(index, piece.reason)
            else:
                yield shape.part(index, piece, lengths[index])
                lengths[index] += len(piece.text)
    if usage:
        yield shape.usage(_counted([ends[n] for n in sorted(ends)], usage))


async def _merged(
    service: Service, wanted: Sequence[Generation]
) -> AsyncGenerator[tuple[int, Piece | End], None]:
    """The pieces of all choices in the order of their coming."""
    if len(wanted) == 1:
        async with contextlib.aclosing(service.generate(wanted[0])) as pieces:
            async for piece in pieces:
                yield 0, piece
        return
    queue: asyncio.Queue[tuple[int, Piece | End | BaseException]] = asyncio.Queue()

    async def pump(index: int, generation: Generation) -> None:
        try:
            async for piece in service.generate(generation):
                await queue.put((index, piece))
        except (EngineError, TimeoutError) as error:
            await queue.put((index, error))

    tasks = [asyncio.create_task(pump(n, g)) for n, g in enumerate(wanted)]
    try:
        left = len(tasks)
        while left:
            index, found = await queue.get()
            if isinstance(found, BaseException):
                raise found
            left -= isinstance(found, End)
            yield index, found
    finally:
        await _end(tasks)


async def _sse(
    service: Service, first: dict[str, Any], events: AsyncGenerator[dict[str, Any], None]
) -> AsyncIterator[bytes]:
    """Server-sent events; an error after the start is an event of its own, then the end."""
    finished = False
    try:
        yield _event(first)
        async for event in events:
            yield _event(event)
        finished = True
        yield b"data: [DONE]\n\n"
    except EngineError as error:
        finished = True
        yield _event(error_body(str(error), error.status, error.code))
    except TimeoutError:
        finished = True
        yield _event(error_body("the answer took too long", 504, "timeout"))
    finally:
        service.metrics.cancelled += not finished
        await events.aclose()


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


async def _embeddings(service: Service, body: Embedding) -> Response:
    inputs = body.inputs
    service.admission.check(len(inputs))

    async def one(text: str | list[int]) -> tuple[list[float], int]:
        await service.fitting(text, 1)
        async with asyncio.timeout(service.limits.request_seconds), service.admission.slot():
            return await service.engine.embed(text)

    found = await asyncio.gather(*[one(text) for text in inputs])
    packed = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": n, "embedding": _pack(vector) if packed else vector}
        for n, (vector, _) in enumerate(found)
    ]
    tokens = sum(count for _, count in found)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse(
        {"object": "list", "data": data, "model": service.engine.name, "usage": usage}
    )


def _pack(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
