"""The battle page: two anonymous answers side by side, a vote, and only then the names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Cookie, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from rich.markup import escape
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langraft.arena.answers import Answers
from langraft.arena.limits import Budget
from langraft.arena.players import Player, Settings
from langraft.arena.questions import Question
from langraft.arena.store import NotAllowed, Store
from langraft.core.messages import warn

HERE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/arena.css": "arena.css", "/arena.js": "arena.js"}
KINDS = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
COOKIE = "langraft-voter"
YEAR = 365 * 24 * 3600
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LONGEST_PROMPT = 8_000
LARGEST_BODY = 64_000

Token = Annotated[str | None, Cookie(alias=COOKIE, max_length=64)]


class Opening(BaseModel):
    """A new battle, on a question of the bank or on the voter's own words."""

    model_config = ConfigDict(extra="forbid")
    question: str = Field("", max_length=200)


class Turn(BaseModel):
    """What the voter asks both sides."""

    model_config = ConfigDict(extra="forbid")
    prompt: str = Field(min_length=1, max_length=LONGEST_PROMPT)


class Ballot(BaseModel):
    """The voter's verdict, in FastChat's words."""

    model_config = ConfigDict(extra="forbid")
    winner: Literal["model_a", "model_b", "tie", "tie (bothbad)"]


@dataclasses.dataclass
class Arena:
    """What the routes share.

    Attributes:
        store: where battles are kept.
        bank: what the page suggests, by id.
        settings: sampling, the same for both sides.
        answers: those under way.
        budget: what one address may ask.
        chance: which question is suggested, and each battle's sampling seed.
    """

    store: Store
    bank: Mapping[str, Question]
    settings: Settings
    answers: Answers
    budget: Budget
    chance: random.Random

    def spend(self, request: Request) -> None:
        """Take one from the address's budget.

        Raises:
            HTTPException: 429, it is used up.
        """
        address = request.client.host if request.client else ""
        if not self.budget.take(address):
            raise HTTPException(
                429, "too many questions from this address; wait a minute", {"Retry-After": "60"}
            )


def arena_app(
    store: Store,
    players: Mapping[str, Player],
    questions: Sequence[Question],
    settings: Settings,
    seed: int = 0,
    per_minute: int = 120,
) -> FastAPI:
    """The page and its API.

    Args:
        store: where battles are kept.
        players: at least two, by name.
        questions: what the page suggests.
        settings: sampling, the same for both sides; every battle has its own seed.
        seed: order of the suggested questions.
        per_minute: battles and questions that one address may begin in a minute.
    """
    app = FastAPI(title="langraft arena", docs_url=None, redoc_url=None, openapi_url=None)
    bank = {question.id: question for question in questions}
    arena = Arena(
        *(store, bank, settings, Answers(store, players)),
        *(Budget(per_minute), random.Random(f"{seed}/{store.counts()}")),
    )
    app.add_middleware(Guard)
    app.exception_handler(NotAllowed)(_refuse)
    app.exception_handler(RequestValidationError)(_explain)
    app.exception_handler(sqlite3.Error)(_unsaved)
    for address, name in FILES.items():
        app.get(address)(_file(name))
    _add_reading(app, arena)
    _add_battles(app, arena)
    return app


class Guard:
    """Refuses what is too large or no JSON, and sets the headers of every answer.

    A plain ASGI application around `app`: one made with `app.middleware` would hide from a stream
    that its reader has left.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (refused := _refusal(scope["method"], Headers(scope=scope))) is not None:
            await JSONResponse({"detail": refused[1]}, refused[0], HEADERS)(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, guarded)


def _refusal(method: str, headers: Headers) -> tuple[int, str] | None:
    length = headers.get("content-length", "" if method == "POST" else "0")
    if not (length.isascii() and length.isdigit()):
        return 411, "say how long the request is"
    if int(length) > LARGEST_BODY:
        return 413, "the request is too large"
    if method == "POST" and not headers.get("content-type", "").startswith("application/json"):
        return 415, "send application/json"
    return None


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 409)


async def _unsaved(_: Request, error: Exception) -> JSONResponse:
    warn(f"the votes' database: {escape(str(error))}")
    return JSONResponse({"detail": "This could not be saved; please tell whoever runs this."}, 503)


async def _explain(_: Request, error: Any) -> JSONResponse:
    found = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()]
    # The request may hold half a character, which no answer could carry back.
    detail = "; ".join(found).encode("utf-8", "replace").decode()
    return JSONResponse({"detail": detail}, 422)


def _file(name: str) -> Callable[..., FileResponse]:
    def page(token: Token = None) -> FileResponse:
        response = FileResponse(HERE / name, media_type=KINDS[name.rpartition(".")[2]])
        # Here already, so that two tabs opened at once are one voter.
        if name == "index.html" and token is None:
            _remember(response, secrets.token_urlsafe(16))
        return response

    return page


def _remember(response: Response, token: str) -> None:
    response.set_cookie(COOKIE, token, max_age=YEAR, httponly=True, samesite="strict")


def _voter(token: str | None) -> str:
    """Who votes, as it is kept and exported: not the token, with which one could vote as them."""
    return hashlib.sha256(token.encode()).hexdigest()[:20] if token else ""


def _add_reading(app: FastAPI, arena: Arena) -> None:
    @app.get("/api/categories")
    def categories() -> list[str]:
        return list(dict.fromkeys(q.category for q in arena.bank.values() if q.category))

    @app.get("/api/question")
    def suggest(category: str = "") -> dict[str, Any]:
        fitting = [q for q in arena.bank.values() if not category or q.category == category]
        if not fitting:
            raise HTTPException(404, f"no question in the category {category!r}")
        question = arena.chance.choice(fitting)
        return {"id": question.id, "category": question.category, "turns": question.turns}

    @app.get("/api/counts")
    def counts() -> dict[str, int]:
        return arena.store.counts()

    @app.get("/api/battles/{battle}")
    def look(battle: str, token: Token = None) -> dict[str, Any]:
        row = arena.store.battle(battle, _voter(token))
        names = {side: row[side] for side in ("model_a", "model_b")}
        return {
            "state": row["state"],
            "winner": row["winner"],
            "a": json.loads(row["conversation_a"]),
            "b": json.loads(row["conversation_b"]),
            **(names if row["state"] == "voted" else {}),
        }


def _add_battles(app: FastAPI, arena: Arena) -> None:
    @app.post("/api/battles")
    def begin(
        opening: Opening, request: Request, response: Response, token: Token = None
    ) -> dict[str, str]:
        arena.spend(request)
        if opening.question and opening.question not in arena.bank:
            raise HTTPException(422, f"no question {opening.question!r} in the bank")
        token = token or secrets.token_urlsafe(16)
        _remember(response, token)
        question = arena.bank.get(opening.question)
        settings = dataclasses.replace(arena.settings, seed=arena.chance.randrange(2**31))
        battle = arena.store.open_battle(
            _voter(token),
            category=question.category if question else "",
            language=question.language if question else "",
            question_id=opening.question,
            settings=dataclasses.asdict(settings),
        )
        return {"battle": battle}

    @app.post("/api/battles/{battle}/turns")
    def ask(battle: str, turn: Turn, request: Request, token: Token = None) -> dict[str, bool]:
        arena.spend(request)
        row = arena.store.battle(battle, _voter(token))
        question = arena.bank.get(row["question_id"])
        first = row["conversation_a"] == "[]"
        if question and first and turn.prompt.strip() != question.turns[0].strip():
            raise HTTPException(422, f"this battle is on question {question.id}; ask it as it is")
        arena.store.ask(battle, _voter(token), turn.prompt)
        return {"asked": True}

    @app.get("/api/battles/{battle}/answers/{side}")
    def answer(battle: str, side: Literal["a", "b"], token: Token = None) -> StreamingResponse:
        lines = arena.answers.begin(battle, _voter(token), side)
        # A proxy that collects the pieces would show them all at once.
        unbuffered = {"X-Accel-Buffering": "no"}
        return StreamingResponse(lines, 200, unbuffered, "application/x-ndjson")

    @app.post("/api/battles/{battle}/vote")
    def vote(battle: str, ballot: Ballot, token: Token = None) -> dict[str, str]:
        first, second = arena.store.vote(battle, _voter(token), ballot.winner)
        return {"model_a": first, "model_b": second}
