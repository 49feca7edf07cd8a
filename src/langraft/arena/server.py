"""The battle page: two anonymous answers side by side, a vote, and only then the names."""

from __future__ import annotations

import dataclasses
import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Cookie, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import iterate_in_threadpool

from langraft.arena.players import Player, Settings
from langraft.arena.questions import Question
from langraft.arena.store import NotAllowed, Store
from langraft.core.errors import LangraftError

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

Voter = Annotated[str | None, Cookie(alias=COOKIE, max_length=64)]


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


def arena_app(
    store: Store,
    players: Mapping[str, Player],
    questions: Sequence[Question],
    settings: Settings,
    seed: int = 0,
) -> FastAPI:
    """The page and its API.

    Args:
        store: where battles are kept.
        players: at least two, by name.
        questions: what the page suggests.
        settings: sampling, the same for both sides.
        seed: order of the suggested questions.
    """
    app = FastAPI(title="langraft arena", docs_url=None, redoc_url=None, openapi_url=None)
    bank = {question.id: question for question in questions}
    chance = random.Random(seed)

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        length = request.headers.get("content-length", "" if request.method == "POST" else "0")
        if not length.isdigit():
            return JSONResponse({"detail": "say how long the request is"}, 411, HEADERS)
        if int(length) > LARGEST_BODY:
            return JSONResponse({"detail": "the request is too large"}, 413, HEADERS)
        kind = request.headers.get("content-type", "")
        if request.method == "POST" and not kind.startswith("application/json"):
            return JSONResponse({"detail": "send application/json"}, 415, HEADERS)
        response: Response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(NotAllowed)
    async def refuse(_: Request, error: NotAllowed) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    for address, name in FILES.items():

        def page(name: str = name) -> FileResponse:
            return FileResponse(HERE / name, media_type=KINDS[name.rpartition(".")[2]])

        app.get(address)(page)

    @app.get("/api/question")
    def suggest() -> dict[str, Any]:
        question = chance.choice(list(bank.values()))
        return {"id": question.id, "category": question.category, "turns": question.turns}

    @app.get("/api/counts")
    def counts() -> dict[str, int]:
        return store.counts()

    @app.post("/api/battles")
    def begin(opening: Opening, response: Response, voter: Voter = None) -> dict[str, str]:
        if opening.question and opening.question not in bank:
            raise HTTPException(422, f"no question {opening.question!r} in the bank")
        voter = voter or secrets.token_urlsafe(16)
        response.set_cookie(COOKIE, voter, max_age=YEAR, httponly=True, samesite="strict")
        question = bank.get(opening.question)
        battle = store.open_battle(
            voter,
            category=question.category if question else "",
            language=question.language if question else "",
            question_id=opening.question,
            settings=dataclasses.asdict(settings),
        )
        return {"battle": battle}

    @app.post("/api/battles/{battle}/turns")
    def ask(battle: str, turn: Turn, voter: Voter = None) -> dict[str, bool]:
        store.ask(battle, voter or "", turn.prompt)
        return {"asked": True}

    @app.get("/api/battles/{battle}/answers/{side}")
    def answer(battle: str, side: Literal["a", "b"], voter: Voter = None) -> StreamingResponse:
        row = store.battle(battle, voter or "")
        talk = json.loads(row[f"conversation_{side}"])
        if row["state"] != "open" or not talk or talk[-1]["role"] != "user":
            raise NotAllowed("there is nothing to answer")
        player = players[row[f"model_{side}"]]
        pieces = _answer(store, player, (battle, voter or "", side), talk, settings)
        return StreamingResponse(iterate_in_threadpool(pieces), media_type="application/x-ndjson")

    @app.post("/api/battles/{battle}/vote")
    def vote(battle: str, ballot: Ballot, voter: Voter = None) -> dict[str, str]:
        first, second = store.vote(battle, voter or "", ballot.winner)
        return {"model_a": first, "model_b": second}

    return app


def _answer(
    store: Store,
    player: Player,
    where: tuple[str, str, str],
    talk: list[dict[str, str]],
    settings: Settings,
) -> Iterator[str]:
    """One side's answer as JSON lines: `text` pieces, then `done` or `error`. What fails voids the
    battle, and so does a reader who leaves before the end.
    """
    battle, voter, side = where
    started, said = time.monotonic(), []
    try:
        for piece in player.stream(talk, settings):
            said.append(piece)
            yield json.dumps({"text": piece}) + "\n"
        store.answer(battle, voter, side, "".join(said), time.monotonic() - started)
        yield json.dumps({"done": True}) + "\n"
    except LangraftError as error:
        store.void(battle, f"side {side}: {error}")
        yield json.dumps({"error": "this side failed; the battle does not count"}) + "\n"
    except GeneratorExit:
        store.void(battle, f"side {side}: the page was closed before the answer was complete")
        raise
