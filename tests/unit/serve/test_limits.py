from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

import httpx
import pytest
from api_server import running

from langraft.serve.api import build_api
from langraft.serve.engine import End, Generation, Piece
from langraft.serve.limits import Limits

ORIGIN = "https://my.page"


class Sleeper:
    """An engine that says `early` and then nothing for a minute."""

    name, context, slots, guides, drafts = "m", 100, 1, False, False
    early = 1

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def alive(self) -> bool:
        return True

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        return "x"

    async def count(self, prompt: str | Sequence[int]) -> int:
        return 1

    def most(self, prompt: str | Sequence[int]) -> float:
        return math.inf

    async def spell(self, ids: Sequence[int]) -> str:
        return ""

    async def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        for _ in range(self.early):
            yield Piece("early")
        await asyncio.sleep(60)

    async def embed(self, text: str | Sequence[int]) -> tuple[list[float], int]:
        await asyncio.sleep(60)
        return [], 0


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with running(build_api(Sleeper(), Limits(request_seconds=0.2, origins=(ORIGIN,)))) as found:
        yield found


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("completions", {"prompt": "x"}),
        ("completions", {"prompt": ["x", "y"]}),
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("embeddings", {"input": "x"}),
    ],
)
def test_an_answer_that_takes_too_long_is_given_up(
    place: str, route: str, body: dict[str, object]
) -> None:
    reply = httpx.post(f"{place}/v1/{route}", json=body | {"model": "m"}, timeout=10)
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")
    assert "langraft_requests_running 0" in httpx.get(f"{place}/metrics").text


@pytest.mark.parametrize(("early", "prompts"), [(0, ["x"]), (1, ["x"]), (1, ["x", "y"])])
def test_a_stream_that_takes_too_long_ends_with_an_error(
    place: str, early: int, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first text it is an HTTP error, after that an event; the slot is free."""
    monkeypatch.setattr(Sleeper, "early", early)
    body = {"model": "m", "prompt": prompts, "stream": True}
    reply = httpx.post(f"{place}/v1/completions", json=body, timeout=10)
    if early:
        lines = [json.loads(line[6:]) for line in reply.text.splitlines() if line]
        assert lines[0]["choices"][0]["text"] == "early"
        assert lines[-1]["error"]["code"] == "timeout"
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")
    assert "langraft_requests_running 0" in httpx.get(f"{place}/metrics").text


def test_a_page_that_was_named_may_call_and_no_other(place: str) -> None:
    asked = {"Access-Control-Request-Method": "POST"}
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://evil.example", None)):
        reply = httpx.options(f"{place}/v1/completions", headers={"Origin": origin} | asked)
        assert reply.headers.get("access-control-allow-origin") == allowed
