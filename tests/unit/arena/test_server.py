from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from arena_players import echo, scripted, stalling

from langraft.arena.players import Endpoint, Settings
from langraft.arena.questions import Question
from langraft.arena.server import arena_app
from langraft.arena.store import Store

BANK = [
    Question("q1", "maths", "en", ("1+1?", "sure?")),
    Question("q2", "写作", "zh", ("写一句诗",)),
]


@contextlib.contextmanager
def arena(store: Store, **players: Endpoint) -> Iterator[str]:
    """The page on a free port."""
    app = arena_app(store, players, BANK, Settings(max_tokens=9))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An arena of x and y."""
    found = Store(tmp_path / "arena.sqlite", ["x", "y"])
    yield found
    found.close()


def fight(client: httpx2.Client, prompt: str, question: str = "") -> tuple[str, dict[str, Any]]:
    """A battle up to both answers: its id, and each side's events."""
    battle = client.post("/api/battles", json={"question": question}).json()["battle"]
    return battle, turn(client, battle, prompt)


def turn(client: httpx2.Client, battle: str, prompt: str) -> dict[str, Any]:
    asked = client.post(f"/api/battles/{battle}/turns", json={"prompt": prompt})
    assert asked.status_code == 200, asked.text
    return {
        side: [
            json.loads(line)
            for line in client.get(f"/api/battles/{battle}/answers/{side}").text.splitlines()
        ]
        for side in "ab"
    }


def test_a_whole_battle_over_two_turns(store: Store) -> None:
    with (
        scripted(echo("X")) as (x, seen),
        scripted(echo("Y")) as (y, _),
        arena(store, x=Endpoint("x", x, "m"), y=Endpoint("y", y, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        battle, sides = fight(client, "1+1?", "q1")
        said = {side: "".join(e.get("text", "") for e in sides[side]) for side in "ab"}
        assert {*said.values()} == {"X: 1+1? <b>!</b>", "Y: 1+1? <b>!</b>"}
        assert sides["a"][-1] == sides["b"][-1] == {"done": True}
        turn(client, battle, "sure?")
        vote = client.post(f"/api/battles/{battle}/vote", json={"winner": "model_a"})
        names = vote.json()
        twice = client.post(f"/api/battles/{battle}/vote", json={"winner": "model_b"})
        assert twice.status_code == 409
        assert client.get("/api/counts").json() == {"open": 0, "voted": 1, "void": 0}
    (kept,) = store.votes()
    assert (kept.model_a, kept.model_b) == (names["model_a"], names["model_b"])
    assert said["a"].startswith(kept.model_a.upper()) and kept.turn == 2
    assert (kept.winner, kept.category, kept.settings["max_tokens"]) == ("model_a", "maths", 9)
    assert len(seen[-1][0]["messages"]) == 3


def test_another_voter_sees_nothing_and_a_broken_side_voids(store: Store) -> None:
    with scripted(echo("X")) as (x, _), scripted(stalling(1.0)) as (slow, _):
        players = {"x": Endpoint("x", x, "m"), "y": Endpoint("y", slow, "m", patience=0.2)}
        with arena(store, **players) as url, httpx2.Client(base_url=url) as client:
            battle, sides = fight(client, "hello")
            last = [sides["a"][-1], sides["b"][-1]]
            failed = {"error": "this side failed; the battle does not count"}
            assert failed in last
            refused = client.post(f"/api/battles/{battle}/vote", json={"winner": "tie"})
            assert refused.status_code == 409 and "void" in refused.json()["detail"]
            with httpx2.Client(base_url=url) as stranger:
                for side in "ab":
                    other = stranger.get(f"/api/battles/{battle}/answers/{side}")
                    assert other.status_code == 409
    assert store.votes() == [] and store.counts()["void"] == 1


def test_a_page_that_is_closed_voids_the_battle(store: Store) -> None:
    with (
        scripted(stalling(0.3)) as (x, _),
        arena(store, x=Endpoint("x", x, "m"), y=Endpoint("y", x, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        battle = client.post("/api/battles", json={}).json()["battle"]
        client.post(f"/api/battles/{battle}/turns", json={"prompt": "x"})
        with client.stream("GET", f"/api/battles/{battle}/answers/a") as answer:
            next(answer.iter_lines())
        deadline = time.monotonic() + 5
        while store.counts()["void"] == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert store.counts() == {"open": 0, "voted": 0, "void": 1}


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/api/battles", {"json": {"question": "q9"}}, 422),
        ("/api/battles", {"json": {"question": 1}}, 422),
        ("/api/battles", {"json": {"voter": "me"}}, 422),
        ("/api/battles", {"content": b"x" * 70_000}, 413),
        ("/api/battles", {"content": b"{}"}, 415),
        ("/api/battles", {"content": iter([b"{}"])}, 411),
        ("/api/battles/none/turns", {"json": {"prompt": "x"}}, 409),
        ("/api/battles/none/turns", {"json": {"prompt": ""}}, 422),
        ("/api/battles/none/turns", {"json": {"prompt": "x" * 8_001}}, 422),
        ("/api/battles/none/vote", {"json": {"winner": "me"}}, 422),
    ],
)
def test_what_is_malformed_or_too_big_is_refused(
    store: Store, path: str, options: dict[str, Any], status: int
) -> None:
    with arena(store, x=Endpoint("x", "http://127.0.0.1:9", "m")) as url:
        assert httpx2.post(url + path, **options).status_code == status


def test_the_page_may_load_nothing_from_elsewhere(store: Store) -> None:
    with arena(store, x=Endpoint("x", "http://127.0.0.1:9", "m")) as url:
        for path in ("/", "/arena.css", "/arena.js"):
            answer = httpx2.get(url + path)
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'")
            assert "http" not in answer.text.replace("http-equiv", "")
        question = httpx2.get(url + "/api/question").json()
        assert question["id"] in {"q1", "q2"} and question["turns"]
        assert httpx2.get(url + "/../../../etc/passwd").status_code == 404


def test_a_hundred_voters_at_once(store: Store) -> None:
    with scripted(echo("X")) as (x, _), scripted(echo("Y")) as (y, _):
        players = {"x": Endpoint("x", x, "m"), "y": Endpoint("y", y, "m")}
        with arena(store, **players) as url:
            statuses: list[int] = []

            def visit(number: int) -> None:
                with httpx2.Client(base_url=url, timeout=60) as client:
                    battle, _ = fight(client, f"hello {number}")
                    vote = client.post(f"/api/battles/{battle}/vote", json={"winner": "tie"})
                    statuses.append(vote.status_code)

            threads = [threading.Thread(target=visit, args=(n,)) for n in range(100)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert statuses == [200] * 100
    votes = store.votes()
    assert len(votes) == 100 == len({v.judge for v in votes})
    for vote in votes:
        asked = vote.conversation_a[0]["content"]
        assert vote.conversation_a[1]["content"] == f"{vote.model_a.upper()}: {asked} <b>!</b>"
