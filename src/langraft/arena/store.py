"""Battles on disk: SQLite with a write-ahead log, one row a battle, safe against kill -9."""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from langraft.arena.votes import OUTCOMES, Vote
from langraft.core.errors import BadInput, LangraftError

SCHEMA = """
create table if not exists battles (
  number integer primary key,
  id text not null unique,
  voter text not null,
  model_a text not null,
  model_b text not null,
  state text not null check (state in ('open', 'voted', 'void')),
  winner text,
  reason text not null default '',
  category text not null default '',
  language text not null default '',
  question_id text not null default '',
  settings text not null default '{}',
  conversation_a text not null default '[]',
  conversation_b text not null default '[]',
  seconds_a real not null default 0,
  seconds_b real not null default 0,
  anony integer not null default 1,
  opened real not null,
  voted real
)
"""
# Pairs are counted at every battle; with it no transcript is read for that.
INDEX = "create index if not exists meetings on battles (state, model_a, model_b)"
MOST_TURNS = 20
SIDES = ("a", "b")


class NotAllowed(LangraftError):
    """A battle that is not there, not this voter's, not finished, or decided already."""


class Store:
    """The battles of one arena.

    A write is on disk before the call returns (`synchronous = full`).

    Raises:
        BadInput: the file is no arena's database.
    """

    def __init__(self, path: Path, models: Sequence[str], seed: int = 0) -> None:
        self._models, self._seed = list(models), seed
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            tables = {row[0] for row in self._db.execute("select name from sqlite_master")}
            if tables and "battles" not in tables:
                raise sqlite3.DatabaseError("it holds other tables")
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.execute(SCHEMA)
            self._db.execute(INDEX)
        except sqlite3.DatabaseError as error:
            raise BadInput(f"{path}: not an arena's database ({error})") from error
        self._db.row_factory = sqlite3.Row

    def close(self) -> None:
        """Fold the log into the file."""
        self._db.close()

    def open_battle(
        self, voter: str, *, category: str, language: str, question_id: str, settings: Any
    ) -> str:
        """Begin a battle of the two models that met least, on sides that keep each pair's order
        even, ties broken by the seed; returns its id.
        """
        with self._lock:
            number = self._db.execute("select count(*) from battles").fetchone()[0]
            first, second = self._pair(number)
            battle = secrets.token_urlsafe(16)
            self._db.execute(
                "insert into battles (id, voter, model_a, model_b, state, category, language, "
                "question_id, settings, opened) values (?, ?, ?, ?, 'open', ?, ?, ?, ?, ?)",
                (
                    *(battle, voter, first, second, category, language, question_id),
                    *(json.dumps(settings), time.time()),
                ),
            )
        return battle

    def _pair(self, number: int) -> tuple[str, str]:
        met: dict[tuple[str, str], int] = {
            (row[0], row[1]): row[2]
            for row in self._db.execute(
                "select model_a, model_b, count(*) from battles where state != 'void' "
                "group by model_a, model_b"
            )
        }
        chance = random.Random(f"{self._seed}/{number}")
        pairs = list(combinations(self._models, 2))
        chance.shuffle(pairs)

        def meetings(pair: tuple[str, str]) -> int:
            return int(met.get(pair, 0) + met.get(pair[::-1], 0))

        one, other = min(pairs, key=meetings)
        orders = [(one, other), (other, one)]
        chance.shuffle(orders)
        return min(orders, key=lambda order: met.get(order, 0))

    def battle(self, battle: str, voter: str) -> sqlite3.Row:
        """The row of `battle`.

        Raises:
            NotAllowed: there is none, or it is another voter's.
        """
        row: sqlite3.Row | None = self._db.execute(
            "select * from battles where id = ?", (battle,)
        ).fetchone()
        if row is None or row["voter"] != voter:
            raise NotAllowed("no such battle of yours")
        return row

    def ask(self, battle: str, voter: str, prompt: str) -> None:
        """Add a user's turn on both sides.

        Raises:
            NotAllowed: the battle is over, or waits for an answer still.
        """
        with self._lock:
            row = self._open(battle, voter)
            for side in SIDES:
                talk = json.loads(row[f"conversation_{side}"])
                if talk and talk[-1]["role"] == "user":
                    raise NotAllowed("the last question is not answered yet")
                if len(talk) >= 2 * MOST_TURNS:
                    raise NotAllowed(f"a battle has at most {MOST_TURNS} questions; please vote")
                self._write(row, side, [*talk, {"role": "user", "content": prompt}], 0.0)

    def answer(self, battle: str, voter: str, side: str, text: str, seconds: float) -> None:
        """Add the answer of one side."""
        with self._lock:
            row = self._open(battle, voter)
            talk = json.loads(row[f"conversation_{side}"])
            if not talk or talk[-1]["role"] != "user":
                raise NotAllowed("this side has answered already")
            self._write(row, side, [*talk, {"role": "assistant", "content": text}], seconds)

    def _open(self, battle: str, voter: str) -> sqlite3.Row:
        row = self.battle(battle, voter)
        if row["state"] != "open":
            raise NotAllowed(f"this battle is over ({row['state']})")
        return row

    def _write(self, row: sqlite3.Row, side: str, talk: list[dict[str, str]], more: float) -> None:
        # `side` is one of SIDES, never a user's text.
        self._db.execute(
            f"update battles set conversation_{side} = ?, seconds_{side} = seconds_{side} + ? "
            "where id = ?",
            (json.dumps(talk, ensure_ascii=False), more, row["id"]),
        )

    def void(self, battle: str, reason: str) -> None:
        """A side failed: the battle is kept, shown, and does not count."""
        with self._lock:
            self._db.execute(
                "update battles set state = 'void', reason = ? where id = ? and state = 'open'",
                (reason, battle),
            )

    def void_unfinished(self) -> int:
        """Void the battles whose answers a server that is gone left incomplete; returns how many.
        Those that only wait for a vote stay open.
        """
        with self._lock:
            return self._db.execute(
                "update battles set state = 'void', "
                "reason = 'the server stopped before the answers were complete' "
                "where state = 'open' and 'user' in (json_extract(conversation_a, '$[#-1].role'), "
                "json_extract(conversation_b, '$[#-1].role'))"
            ).rowcount

    def vote(self, battle: str, voter: str, winner: str) -> tuple[str, str]:
        """Decide a battle once and return the two names.

        Raises:
            NotAllowed: not this voter's, decided already, or not answered on both sides.
        """
        if winner not in OUTCOMES:
            raise NotAllowed(f"a vote is one of: {', '.join(OUTCOMES)}")
        with self._lock:
            row = self._open(battle, voter)
            for side in SIDES:
                talk = json.loads(row[f"conversation_{side}"])
                if not talk or talk[-1]["role"] != "assistant":
                    raise NotAllowed("both answers must be complete before the vote")
            self._db.execute(
                "update battles set state = 'voted', winner = ?, voted = ? where id = ?",
                (winner, time.time(), battle),
            )
        return row["model_a"], row["model_b"]

    def counts(self) -> dict[str, int]:
        """Battles by state."""
        found = self._db.execute("select state, count(*) from battles group by state")
        return {"open": 0, "voted": 0, "void": 0} | {row[0]: row[1] for row in found}

    def votes(self) -> list[Vote]:
        """Every decided battle, in the order of the votes."""
        rows = self._db.execute(
            "select * from battles where state = 'voted' order by voted, number"
        )
        return [_vote(row) for row in rows]

    def take_in(self, votes: Sequence[Vote]) -> int:
        """Add votes from elsewhere; one that is here already (same judge, models, time) is left
        out. Returns how many came in.
        """
        with self._lock, self._db:
            self._db.execute("begin")
            here = {_identity(vote) for vote in self.votes()}
            new = [vote for vote in votes if _identity(vote) not in here]
            for vote in new:
                self._db.execute(
                    "insert into battles (id, voter, model_a, model_b, state, winner, category, "
                    "language, question_id, settings, conversation_a, conversation_b, seconds_a, "
                    "seconds_b, anony, opened, voted) "
                    "values (?,?,?,?,'voted',?,?,?,?,?,?,?,?,?,?,?,?)",
                    (
                        *(secrets.token_urlsafe(16), vote.judge, vote.model_a, vote.model_b),
                        *(vote.winner, vote.category, vote.language, vote.question_id),
                        *(_json(v) for v in (vote.settings, *_talks(vote))),
                        *(vote.seconds_a, vote.seconds_b, vote.anony, vote.tstamp, vote.tstamp),
                    ),
                )
        return len(new)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _talks(vote: Vote) -> tuple[Any, Any]:
    return vote.conversation_a, vote.conversation_b


def _identity(vote: Vote) -> tuple[Any, ...]:
    return vote.judge, vote.model_a, vote.model_b, vote.tstamp, vote.question_id


def _vote(row: sqlite3.Row) -> Vote:
    return Vote(
        model_a=row["model_a"],
        model_b=row["model_b"],
        winner=row["winner"],
        judge=row["voter"],
        tstamp=row["voted"],
        anony=bool(row["anony"]),
        category=row["category"],
        language=row["language"],
        question_id=row["question_id"],
        conversation_a=tuple(json.loads(row["conversation_a"])),
        conversation_b=tuple(json.loads(row["conversation_b"])),
        settings=json.loads(row["settings"]),
        seconds_a=row["seconds_a"],
        seconds_b=row["seconds_b"],
    )
