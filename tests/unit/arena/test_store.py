from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from langraft.arena.store import MOST_TURNS, NotAllowed, Store
from langraft.arena.votes import Vote
from langraft.core.errors import BadInput


def opened(store: Store, voter: str = "v") -> str:
    return store.open_battle(
        voter, category="maths", language="en", question_id="q1", settings={"top_p": 0.9}
    )


def answered(store: Store, voter: str = "v") -> str:
    battle = opened(store, voter)
    store.ask(battle, voter, "1+1?")
    store.answer(battle, voter, "a", "2", 0.5)
    store.answer(battle, voter, "b", "three", 1.5)
    return battle


def test_a_battle_is_one_row_with_both_transcripts(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", ["x", "y"])
    battle = answered(store)
    store.ask(battle, "v", "sure?")
    store.answer(battle, "v", "b", "no", 0.25)
    store.answer(battle, "v", "a", "yes", 0.25)
    names = store.vote(battle, "v", "model_a")
    (vote,) = store.votes()
    assert {*names} == {"x", "y"} and (vote.model_a, vote.model_b) == names
    assert [m["content"] for m in vote.conversation_a] == ["1+1?", "2", "sure?", "yes"]
    assert [m["content"] for m in vote.conversation_b] == ["1+1?", "three", "sure?", "no"]
    assert (vote.seconds_a, vote.seconds_b, vote.turn) == (0.75, 1.75, 2)
    assert (vote.winner, vote.category, vote.question_id) == ("model_a", "maths", "q1")
    assert vote.settings == {"top_p": 0.9}


def test_nobody_votes_twice_or_too_early_or_on_another_ones_battle(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", ["x", "y"])
    battle = opened(store)
    with pytest.raises(NotAllowed, match="both answers must be complete"):
        store.vote(battle, "v", "tie")
    store.ask(battle, "v", "1+1?")
    with pytest.raises(NotAllowed, match="not answered yet"):
        store.ask(battle, "v", "again")
    store.answer(battle, "v", "a", "2", 0.1)
    with pytest.raises(NotAllowed, match="answered already"):
        store.answer(battle, "v", "a", "3", 0.1)
    store.answer(battle, "v", "b", "2", 0.1)
    with pytest.raises(NotAllowed, match="no such battle"):
        store.vote(battle, "other", "tie")
    with pytest.raises(NotAllowed, match="a vote is one of"):
        store.vote(battle, "v", "mine")
    store.vote(battle, "v", "tie")
    with pytest.raises(NotAllowed, match=r"over \(voted\)"):
        store.vote(battle, "v", "model_a")
    assert store.counts() == {"open": 0, "voted": 1, "void": 0}


def test_a_void_battle_is_kept_and_does_not_count(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", ["x", "y"])
    battle = answered(store)
    store.void(battle, "side a: stalled")
    assert store.battle(battle, "v")["reason"] == "side a: stalled"
    with pytest.raises(NotAllowed, match=r"over \(void\)"):
        store.vote(battle, "v", "tie")
    assert store.votes() == []


def test_what_a_dead_server_left_unanswered_is_void(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", ["x", "y"])
    fresh, waiting, half, whole = opened(store), opened(store), opened(store), answered(store)
    for battle in (waiting, half):
        store.ask(battle, "v", "1+1?")
    store.answer(half, "v", "b", "2", 0.1)
    assert store.void_unfinished() == 2
    states = [store.battle(battle, "v")["state"] for battle in (fresh, waiting, half, whole)]
    assert states == ["open", "void", "void", "open"]
    assert "server stopped" in store.battle(half, "v")["reason"]


def test_a_battle_ends_somewhere(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", ["x", "y"])
    battle = answered(store)
    for _ in range(MOST_TURNS - 1):
        store.ask(battle, "v", "and?")
        for side in "ab":
            store.answer(battle, "v", side, "more", 0.1)
    with pytest.raises(NotAllowed, match=f"at most {MOST_TURNS} questions"):
        store.ask(battle, "v", "and?")


def test_votes_with_names_in_view_stay_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", [])
    seen = Vote("x", "y", "tie", judge="v", tstamp=1.0, anony=False)
    assert store.take_in([seen]) == 1 and store.votes() == [seen]


def test_pairs_and_sides_stay_even(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", ["x", "y", "z"], seed=4)
    for _ in range(60):
        opened(store)
    rows = store._db.execute("select model_a, model_b from battles").fetchall()
    orders = Counter((row[0], row[1]) for row in rows)
    # Three pairs in two orders: ten battles each.
    assert set(orders.values()) == {10} and len(orders) == 6
    twin = Store(tmp_path / "twin.sqlite", ["x", "y", "z"], seed=4)
    for _ in range(60):
        opened(twin)
    again = twin._db.execute("select model_a, model_b from battles").fetchall()
    assert [tuple(row) for row in rows] == [tuple(row) for row in again]


def test_a_hundred_voters_at_once_lose_no_vote(tmp_path: Path) -> None:
    store = Store(tmp_path / "arena.sqlite", ["x", "y", "z"])
    start = threading.Barrier(100)

    def visit(number: int) -> None:
        start.wait()
        battle = answered(store, f"v{number}")
        store.vote(battle, f"v{number}", "model_b")

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.counts() == {"open": 0, "voted": 100, "void": 0}
    assert {v.judge for v in store.votes()} == {f"v{n}" for n in range(100)}


VOTER = """
import sys
from pathlib import Path
from langraft.arena.store import Store
store = Store(Path(sys.argv[1]), ["x", "y"])
for _ in range(10_000):
    battle = store.open_battle("v", category="", language="", question_id="", settings={})
    store.ask(battle, "v", "?")
    store.answer(battle, "v", "a", "1", 0.1)
    store.answer(battle, "v", "b", "2", 0.1)
    store.vote(battle, "v", "tie")
    print(battle, flush=True)
"""


def test_votes_survive_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "arena.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", VOTER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    told += [
        line.strip()
        for line in process.stdout.read().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    process.stdout.close()
    process.wait()
    store = Store(path, ["x", "y"])
    assert store._db.execute("pragma integrity_check").fetchone()[0] == "ok"
    rows = store._db.execute("select id from battles where state = 'voted'")
    kept = {row[0] for row in rows}
    assert len(told) >= 20 and set(told) <= kept
    opened(store)


def test_votes_move_between_arenas_once(tmp_path: Path) -> None:
    first = Store(tmp_path / "first.sqlite", ["x", "y"])
    first.vote(answered(first), "v", "tie")
    second = Store(tmp_path / "second.sqlite", [])
    assert second.take_in(first.votes()) == 1
    assert second.take_in(first.votes()) == 0
    assert second.votes() == first.votes()


def test_another_file_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text("{}\n" * 100)
    with pytest.raises(BadInput, match="not an arena's database"):
        Store(path, ["x", "y"])
