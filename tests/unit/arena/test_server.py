from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from arena_players import arena, echo, scripted, stalling

from langraft.arena import answers
from langraft.arena.players import Endpoint
from langraft.arena.store import Store


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
            failed = {"error": "This side failed, so the battle does not count."}
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
        # While the server still runs: its end would void the battle too.
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


def test_an_answer_is_written_once_however_often_it_is_asked_for(store: Store) -> None:
    with (
        scripted(stalling(0.3)) as (x, seen),
        arena(store, x=Endpoint("x", x, "m"), y=Endpoint("y", x, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        battle = client.post("/api/battles", json={}).json()["battle"]
        client.post(f"/api/battles/{battle}/turns", json={"prompt": "x"})
        with client.stream("GET", f"/api/battles/{battle}/answers/a") as answer:
            lines = answer.iter_lines()
            next(lines)
            again = client.get(f"/api/battles/{battle}/answers/a")
            assert again.status_code == 409 and "already" in again.json()["detail"]
            assert json.loads(list(lines)[-1]) == {"done": True}
        assert len(seen) == 1 and store.counts()["open"] == 1


def test_the_voter_is_kept_as_a_digest_of_the_cookie(store: Store) -> None:
    with (
        scripted(echo("X")) as (x, _),
        arena(store, x=Endpoint("x", x, "m"), y=Endpoint("y", x, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        page = client.get("/")
        token = page.cookies["langraft-voter"]
        assert "HttpOnly" in page.headers["set-cookie"]
        assert "SameSite=strict" in page.headers["set-cookie"]
        battle, _ = fight(client, "hello")
        client.post(f"/api/battles/{battle}/vote", json={"winner": "tie"})
        assert client.cookies["langraft-voter"] == token
    (vote,) = store.votes()
    assert len(vote.judge) == 20 and token not in vote.judge


def test_names_are_told_after_the_vote_only(store: Store) -> None:
    with (
        scripted(echo("X")) as (x, _),
        arena(store, x=Endpoint("x-name", x, "m"), y=Endpoint("y-name", x, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        battle, _ = fight(client, "hello")
        before = client.get(f"/api/battles/{battle}")
        assert before.json()["state"] == "open" and "model_a" not in before.json()
        client.post(f"/api/battles/{battle}/vote", json={"winner": "model_b"})
        after = client.get(f"/api/battles/{battle}").json()
        assert {after["model_a"], after["model_b"]} == {"x", "y"}
        assert (after["state"], after["winner"]) == ("voted", "model_b")
        assert httpx2.get(f"{url}/api/battles/{battle}").status_code == 409


def test_one_address_cannot_ask_without_end(store: Store) -> None:
    with (
        scripted(echo("X")) as (x, _),
        arena(store, per_minute=4, x=Endpoint("x", x, "m"), y=Endpoint("y", x, "m")) as url,
    ):
        found = [httpx2.post(f"{url}/api/battles", json={}) for _ in range(5)]
        assert [r.status_code for r in found] == [200] * 4 + [429]
        assert found[-1].headers["retry-after"] == "60"
        assert httpx2.get(url).status_code == 200


def test_a_question_of_the_bank_is_asked_as_it_is(store: Store) -> None:
    with (
        scripted(echo("X")) as (x, _),
        arena(store, x=Endpoint("x", x, "m"), y=Endpoint("y", x, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        battle = client.post("/api/battles", json={"question": "q1"}).json()["battle"]
        other = client.post(f"/api/battles/{battle}/turns", json={"prompt": "2+2?"})
        assert other.status_code == 422 and "as it is" in other.json()["detail"]
        assert client.post(f"/api/battles/{battle}/turns", json={"prompt": "1+1?"}).is_success
        assert client.get("/api/question?category=maths").json()["id"] == "q1"
        assert client.get("/api/question?category=none").status_code == 404
        assert client.get("/api/categories").json() == ["maths", "写作"]


def test_both_sides_answer_with_the_same_seed_and_battles_with_others(store: Store) -> None:
    with (
        scripted(echo("X")) as (x, seen),
        arena(store, x=Endpoint("x", x, "m"), y=Endpoint("y", x, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        fight(client, "one")
        fight(client, "two")
    seeds = [body["seed"] for body, _ in seen]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_half_a_character_is_refused(store: Store) -> None:
    with arena(store, x=Endpoint("x", "http://127.0.0.1:9", "m")) as url:
        headers = {"content-type": "application/json"}
        body = b'{"prompt": "\\ud800"}'
        answer = httpx2.post(f"{url}/api/battles/b/turns", content=body, headers=headers)
        assert answer.status_code == 422


def test_a_model_without_an_end_voids_the_battle(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LONGEST_ANSWER", 1000)

    def endless(_: dict[str, Any]) -> Iterator[str]:
        while True:
            yield "and on " * 20

    with (
        scripted(endless) as (x, _),
        arena(store, x=Endpoint("x", x, "m"), y=Endpoint("y", x, "m")) as url,
        httpx2.Client(base_url=url) as client,
    ):
        _, sides = fight(client, "hello")
        assert "error" in sides["a"][-1] and len(sides["a"]) < 12
    assert store.counts()["void"] == 1


def test_what_cannot_be_saved_is_told(store: Store) -> None:
    with arena(store, x=Endpoint("x", "http://127.0.0.1:9", "m")) as url:
        store.close()
        answer = httpx2.post(f"{url}/api/battles", json={})
        assert answer.status_code == 503 and "could not be saved" in answer.json()["detail"]


def test_slow_models_keep_nobody_from_voting(store: Store) -> None:
    """More answers under way than the server has ordinary threads (40)."""
    with (
        scripted(stalling(2.5)) as (slow, seen),
        arena(store, x=Endpoint("x", slow, "m"), y=Endpoint("y", slow, "m")) as url,
    ):
        ready = open_battle_with_answers(store, voter="")

        def wait() -> None:
            with httpx2.Client(base_url=url, timeout=30) as client:
                battle = client.post("/api/battles", json={}).json()["battle"]
                client.post(f"/api/battles/{battle}/turns", json={"prompt": "x"})
                assert client.get(f"/api/battles/{battle}/answers/a").is_success

        threads = [threading.Thread(target=wait) for _ in range(45)]
        for thread in threads:
            thread.start()
        while len(seen) < 45:
            time.sleep(0.01)
        started = time.monotonic()
        answer = httpx2.post(f"{url}/api/battles/{ready}/vote", json={"winner": "tie"})
        assert answer.status_code == 200 and time.monotonic() - started < 1.5
        for thread in threads:
            thread.join()


def open_battle_with_answers(store: Store, voter: str) -> str:
    battle = store.open_battle(voter, category="", language="", question_id="", settings={})
    store.ask(battle, voter, "?")
    store.answer(battle, voter, "a", "1", 0.1)
    store.answer(battle, voter, "b", "2", 0.1)
    return battle


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
