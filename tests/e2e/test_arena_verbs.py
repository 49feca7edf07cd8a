"""The arena's verbs as a person types them; the page with the models of the small run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from arena_players import bench_files, echo, scripted
from typer.testing import CliRunner

from langraft.arena.local import Local
from langraft.arena.players import Settings
from langraft.arena.store import Store
from langraft.arena.votes import read_votes
from langraft.cli import app
from langraft.core.errors import BadInput

ASK = [{"role": "user", "content": "你好"}]


def verb(*args: object) -> dict[str, Any]:
    """The JSON that `langraft arena ...` prints."""
    found = CliRunner().invoke(app, ["arena", *map(str, args)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    lines = [line for line in found.stdout.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Three questions."""
    path = tmp_path / "questions.jsonl"
    rows = [{"question_id": i, "turns": [f"question {i}"], "category": "写作"} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def first_is(name: str) -> Any:
    """Judges for `name`, wherever it stands."""

    def script(body: dict[str, Any]) -> Iterator[str]:
        text = body["messages"][-1]["content"]
        found = re.search(r"\[回答 A 1\]\n(\w+):", text)
        assert found is not None
        yield "理由。[[A]]" if found[1] == name else "理由。[[B]]"

    return script


def test_judged_rated_and_reported(tmp_path: Path, questions: Path) -> None:
    out = tmp_path / "battle"
    with (
        scripted(echo("good")) as (good, asked),
        scripted(echo("bad")) as (bad, _),
        scripted(first_is("good")) as (judge, judged),
    ):
        models = (f"good={good}#m", f"bad={bad}#m", "--judge", f"judge={judge}#m")
        options = ("--questions", questions, "--out", out, "--price-in", 3, "--price-out", 15)
        found = verb("judge", *models, *options, "--json")
        assert (found["battles"], found["valid"], found["orders_disagree"]) == (3, 3, 0)
        # Six judgements of 10 tokens read and 3 written.
        assert found["judge_tokens"] == {"prompt": 60, "completion": 18}
        assert found["cost"] == pytest.approx((60 * 3 + 18 * 15) / 1e6)
        again = verb("judge", *models, *options, "--json")
        assert again == found and (len(asked), len(judged)) == (3, 6)
        # The judge's own votes as people's: perfect agreement.
        same = verb("judge", *models, *options, "--human", out / "votes.jsonl", "--json")
        assert same["agreement"] == {"battles": 3, "agreement": 1.0, "kappa": 1.0}
        # Other settings are other answers; these are the same words, so nothing is judged anew.
        warm = verb("judge", *models, *options, "--max-tokens", 9, "--json")
        assert warm["valid"] == 3 and (len(asked), len(judged)) == (6, 6)
    database, page = tmp_path / "arena.sqlite", tmp_path / "arena.html"
    verb("import", database, out / "votes.jsonl")
    verb("export", database, "--out", tmp_path / "again.jsonl")
    first, again = (tmp_path / "again.jsonl").read_text(), (out / "votes.jsonl").read_text()
    assert sorted(first.splitlines()) == sorted(again.splitlines())
    rated = verb("rate", database, "--rounds", 50, "--system", "elo", "--json")
    assert [row["model"] for row in rated["leaderboard"]] == ["good", "bad"]
    assert rated["leaderboard"][0]["wins"] == rated["votes"] == 3
    assert verb("report", database, "--out", page, "--rounds", 50, "--json")["votes"] == 3
    assert "question 1" in page.read_text()


@pytest.mark.parametrize(("bank", "count"), [("questions", 22), ("align", 12)])
def test_published_banks_run_as_they_are(
    material: Path, tmp_path: Path, bank: str, count: int
) -> None:
    bench_files(material, tmp_path)
    with (
        scripted(echo("good")) as (good, asked),
        scripted(echo("bad")) as (bad, _),
        scripted(first_is("good")) as (judge, judged),
    ):
        models = (f"good={good}#m", f"bad={bad}#m", "--judge", f"judge={judge}#m")
        options = ("--questions", tmp_path / bank, "--out", tmp_path, "--limit", count, "--json")
        references = ("--references", tmp_path / "references") if bank == "questions" else ()
        found = verb("judge", *models, *options, *references)
    assert (found["battles"], found["valid"]) == (count, count)
    assert len(asked) == (2 * count if bank == "questions" else count)
    told = [body["messages"][1]["content"] for body, _ in judged]
    # Three of MT-bench's first 22 have a reference (95, 101, 102), AlignBench's all have one.
    assert sum("[参考答案 1]" in text for text in told) == (6 if bank == "questions" else 24)
    votes = read_votes(tmp_path / "votes.jsonl")
    assert {v.winner for v in votes} == {"model_a"} and all(v.category for v in votes)


def test_graded(tmp_path: Path, questions: Path) -> None:
    def grading(body: dict[str, Any]) -> Iterator[str]:
        yield "[[8]]" if "good:" in body["messages"][-1]["content"] else "none"

    with (
        scripted(echo("good")) as (good, _),
        scripted(echo("bad")) as (bad, _),
        scripted(grading) as (judge, _),
    ):
        models = (f"good={good}#m", f"bad={bad}#m", "--judge", f"{judge}#m")
        options = ("--questions", questions, "--out", tmp_path, "--template", "score-zh")
        found = verb("judge", *models, *options, "--json")
    assert found["scores"]["good"] == {"mean": 8.0, "graded": 3, "invalid": 0}
    assert found["scores"]["bad"] == {"mean": None, "graded": 0, "invalid": 3}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("rate", "none.jsonl"), "no such file"),
        (("serve", "a=http://127.0.0.1:9/v1#m"), "at least two"),
        (("serve", *["a=http://127.0.0.1:9/v1#m"] * 2), "two models are called 'a'"),
        (("serve", "a=http://127.0.0.1:9/v1", "b=x"), "lists no model"),
        (("judge", "a=x", "--judge", "j=x", "--out", "o", "--template", "t"), "must be one of"),
        (("judge", "a=x", "--judge", "j=x", "--out", "o"), "verdicts compare two models"),
        (("judge", "a=x", "--judge", "j=x", "--out", "o", "--key-file", "k"), "no such file"),
    ],
)
def test_what_cannot_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=message):
        CliRunner().invoke(app, ["arena", *args], catch_exceptions=False)
    assert not (tmp_path / "arena.sqlite").exists()


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("create table t (x)")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(BadInput, match="not an arena's database"):
        CliRunner().invoke(app, ["arena", "rate", str(path)], catch_exceptions=False)
    assert path.read_bytes() == before


def test_a_local_model_that_is_none_is_told_in_its_own_words(tmp_path: Path) -> None:
    local = Local("mine", str(tmp_path / "none"))
    with pytest.raises(BadInput, match=r"mine: .* stopped with code 2: .*none"):
        next(local.stream(ASK, Settings()))
    local.close()


@contextlib.contextmanager
def page_of(*args: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`langraft arena serve` on a free port: its process and address."""
    command = [sys.executable, "-m", "langraft", "arena", "serve", *map(str, args), "--port", "0"]
    wide = {**os.environ, "COLUMNS": "1000"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=wide)
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if place := re.search(r"battle at (http://\S+)", line):
                wait_for(place[1])
                yield process, place[1]
                break
        else:
            pytest.fail("".join(said))
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def wait_for(url: str) -> None:
    for _ in range(200):
        with contextlib.suppress(httpx2.HTTPError):
            httpx2.get(url)
            return
        time.sleep(0.05)


def battle(url: str, winner: str) -> dict[str, str]:
    """One battle over the API: the names."""
    with httpx2.Client(base_url=url, timeout=60) as client:
        found = client.post("/api/battles", json={}).json()["battle"]
        client.post(f"/api/battles/{found}/turns", json={"prompt": "你好"})
        for side in "ab":
            events = client.get(f"/api/battles/{found}/answers/{side}").text.splitlines()
            assert json.loads(events[-1]) == {"done": True}, events
        names = client.post(f"/api/battles/{found}/vote", json={"winner": winner})
        return dict(names.json())


def test_ctrl_c_ends_the_page_and_the_votes_are_in_one_file(tmp_path: Path) -> None:
    votes = tmp_path / "arena.sqlite"
    with (
        scripted(echo("x")) as (x, _),
        scripted(echo("y")) as (y, _),
        page_of(f"x={x}#m", f"y={y}#m", "--votes", votes) as (process, url),
    ):
        battle(url, "tie")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)
    assert [path.name for path in tmp_path.iterdir()] == ["arena.sqlite"]
    assert verb("rate", votes, "--rounds", 10, "--json")["votes"] == 1


def test_two_models_of_a_run_are_battled_and_rated(done: Path, small: Path, tmp_path: Path) -> None:
    votes = tmp_path / "arena.sqlite"
    models = (f"base={small / 'base'}", f"zh={done / 'pretrain-adapt'}")
    with page_of(*models, "--votes", votes, "--max-tokens", 8) as (process, url):
        assert {*battle(url, "tie").values()} == {"base", "zh"}
        names = battle(url, "model_a")
        mine = psutil.Process(process.pid)
        children = mine.children(recursive=True)
        assert len(children) >= 2
        # Ctrl-C ends the page and the models with it.
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []
    rated = verb("rate", votes, "--rounds", 20, "--json")
    assert rated["votes"] == 2
    assert rated["leaderboard"][0]["model"] == names["model_a"]


def test_models_do_not_outlive_an_arena_that_is_killed(small: Path, tmp_path: Path) -> None:
    votes = tmp_path / "arena.sqlite"
    with scripted(echo("x")) as (other, _):
        models = (f"base={small / 'base'}", f"x={other}#m")
        with page_of(*models, "--votes", votes, "--max-tokens", 8) as (process, url):
            battle(url, "model_b")
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            _, alive = psutil.wait_procs(children, timeout=20)
            assert alive == [] and len(children) >= 1
    store = Store(votes, [])
    assert [vote.winner for vote in store.votes()] == ["model_b"]
    store.close()
