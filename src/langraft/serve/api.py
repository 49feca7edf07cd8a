"""The API: OpenAI's routes over an engine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import struct
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from langraft.serve.answers import Service, answer
from langraft.serve.engine import Engine, EngineError, Generation
from langraft.serve.limits import Admission, Gate, Limits, error_body
from langraft.serve.metrics import Metrics
from langraft.serve.replies import ChatShape, Shape
from langraft.serve.requests import Chat, Completion, Embedding, Sampled

DEFAULT_TOKENS = 16  # OpenAI's default for /v1/completions
RETRY_AFTER = "2"


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
        return await answer(service, request, body, Shape(body.model), wanted, echoes)

    @app.post("/v1/chat/completions", responses=problems, response_model=None)
    async def chat(request: Request, body: Chat) -> Response:
        service.check_model(body.model)
        prompt = await service.engine.render([message.plain() for message in body.messages])
        tokens = body.max_completion_tokens or body.max_tokens or None
        wanted = await _generation(service, body, prompt, tokens)
        return await answer(service, request, body, ChatShape(body.model), [wanted], [""])

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
    504: "the answer took too long",
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
        top_k=max(0, body.top_k or 0),
        min_p=body.min_p or 0.0,
        repetition_penalty=body.repetition_penalty or 1.0,
        schema=(
            body.response_format.schema_wanted
            if isinstance(body, Chat) and body.response_format
            else None
        ),
    )


async def _embeddings(service: Service, body: Embedding) -> Response:
    inputs = body.inputs
    service.admission.check(len(inputs))

    async def one(text: str | list[int]) -> tuple[list[float], int]:
        await service.fitting(text, 1)
        with contextlib.closing(service.deadline()) as deadline:
            async with service.slot(deadline):
                with deadline:
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
