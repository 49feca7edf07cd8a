"""Votes: one battle's verdict a line, in FastChat's layout, and the arrays that ratings are made
from.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.core.errors import BadInput
from langraft.core.io import open_atomic, open_binary

# FastChat's words for a verdict, and what each is worth to model a: 2 a win, 1 a tie, 0 a loss.
OUTCOMES = {"model_a": 2, "tie": 1, "tie (bothbad)": 1, "model_b": 0}

Message = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Vote:
    """One judged battle.

    Attributes:
        model_a, model_b: the names of the two models; a was shown on the left.
        winner: a key of `OUTCOMES`.
        judge: who voted: a person's random token, or a judge model's name.
        tstamp: seconds since the epoch.
        anony: the names were hidden until the vote.
        category, language, question_id: of the question, as its bank gives them.
        conversation_a, conversation_b: the transcripts, messages of role and content.
        settings: sampling settings that both sides answered with.
        seconds_a, seconds_b: how long each side's answers took.
    """

    model_a: str
    model_b: str
    winner: str
    judge: str = ""
    tstamp: float = 0.0
    anony: bool = True
    category: str = ""
    language: str = ""
    question_id: str = ""
    conversation_a: tuple[Message, ...] = ()
    conversation_b: tuple[Message, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds_a: float = 0.0
    seconds_b: float = 0.0

    @property
    def turn(self) -> int:
        """How many answers each side gave."""
        return sum(m["role"] == "assistant" for m in self.conversation_a)


NUMBER, TEXT = frozenset({int, float}), frozenset({str})
# What a field of a file must be, and the words for it; a bool is no number here.
KINDS: dict[str, tuple[frozenset[type], str]] = {
    "model_a": (TEXT, "a text"),
    "model_b": (TEXT, "a text"),
    "winner": (TEXT, "a text"),
    "judge": (TEXT | {int}, "a text"),
    "tstamp": (NUMBER, "a number of seconds"),
    "anony": (frozenset({bool}), "true or false"),
    "category": (TEXT, "a text"),
    "language": (TEXT, "a text"),
    "question_id": (TEXT | {int}, "a text"),
    "conversation_a": (frozenset({list}), "a list of messages"),
    "conversation_b": (frozenset({list}), "a list of messages"),
    "settings": (frozenset({dict}), "an object"),
    "seconds_a": (NUMBER, "a number of seconds"),
    "seconds_b": (NUMBER, "a number of seconds"),
}


def read_votes(path: Path) -> list[Vote]:
    """The votes in `path`: JSON lines, or one JSON list, in the layout of FastChat's
    `clean_battle_data` and of the battles LMSYS published. `.gz` and `.zst` are read too. Fields
    we do not know are ignored.

    Raises:
        BadInput: not such a file, or no vote in it; the message names the line or the item.
    """
    with open_binary(path) as stream:
        first = stream.peek(1)[:1] if hasattr(stream, "peek") else b""
        found = list(_list(path, stream.read()) if first == b"[" else _lines(path, stream))
    if not found:
        raise BadInput(f"{path}: holds no vote")
    return found


def write_votes(path: Path, votes: Iterable[Vote]) -> int:
    """Write votes as JSON lines in FastChat's layout, atomically, and return how many."""
    count = 0
    with open_atomic(path) as stream:
        for count, vote in enumerate(votes, 1):  # noqa: B007
            line = json.dumps(dataclasses.asdict(vote) | {"turn": vote.turn}, ensure_ascii=False)
            stream.write(line.encode() + b"\n")
    return count


def _lines(path: Path, stream: Iterable[bytes]) -> Iterator[Vote]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            if b"\\u" in line:
                json.dumps(item, ensure_ascii=False).encode()  # half a character
            yield _vote(item, f"{path}:{number}")
        except (json.JSONDecodeError, UnicodeError) as error:
            raise BadInput(f"{path}:{number}: not JSON ({error})") from error


def _list(path: Path, content: bytes) -> Iterator[Vote]:
    try:
        items = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not JSON ({error})") from error
    for number, item in enumerate(items, 1):
        yield _vote(item, f"{path}: item {number}")


def _vote(item: Any, where: str) -> Vote:
    if not isinstance(item, dict):
        raise BadInput(f"{where}: a vote is an object, found {type(item).__name__}")
    fields = {}
    for key, value in item.items():
        if key in KINDS and value is not None:
            kinds, words = KINDS[key]
            if type(value) not in kinds or (type(value) is float and not isfinite(value)):
                raise BadInput(f"{where}: {key} must be {words}, found {value!r}")
            fields[key] = value
    for key in ("model_a", "model_b", "winner"):
        if not fields.get(key):
            raise BadInput(f"{where}: {key} is missing")
    if fields["winner"] not in OUTCOMES:
        known = ", ".join(OUTCOMES)
        raise BadInput(f"{where}: winner is {fields['winner']!r}; it must be one of: {known}")
    if fields["model_a"] == fields["model_b"]:
        raise BadInput(f"{where}: {fields['model_a']} against itself is no battle")
    for key in ("conversation_a", "conversation_b"):
        if key in fields:
            fields[key] = _conversation(fields[key], f"{where}: {key}")
    for key in ("question_id", "judge"):
        if key in fields:
            fields[key] = str(fields[key])
    return Vote(**fields)


def _conversation(messages: list[Any], where: str) -> tuple[Message, ...]:
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise BadInput(f"{where}: a message needs a role and a content, found {message!r}")
    return tuple({"role": str(m.get("role", "")), "content": m["content"]} for m in messages)


@dataclasses.dataclass(frozen=True)
class Ballots:
    """Votes as arrays.

    Attributes:
        models: names in the order in which they first appear (all a sides, then all b sides).
        a, b: indices into `models`, int32 (votes,).
        outcome: 2 where a won, 1 for a tie, 0 where b won, int8 (votes,).
    """

    models: tuple[str, ...]
    a: npt.NDArray[np.int32]
    b: npt.NDArray[np.int32]
    outcome: npt.NDArray[np.int8]

    def __len__(self) -> int:
        """The number of votes."""
        return len(self.a)

    def take(self, chosen: npt.NDArray[np.bool_]) -> Ballots:
        """The votes where `chosen` (votes,) holds, with only the models that they name."""
        a, b = self.a[chosen], self.b[chosen]
        # Renumbered in the order of the new first appearance, as `ballots` would.
        seen, first = np.unique(np.concatenate([a, b]), return_index=True)
        order = seen[np.argsort(first)]
        place = np.zeros(len(self.models), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        names = tuple(self.models[i] for i in order)
        return Ballots(names, place[a], place[b], self.outcome[chosen])


def ballots(votes: Sequence[Vote]) -> Ballots:
    """The arrays of `votes`, in their order."""
    names = dict.fromkeys([v.model_a for v in votes] + [v.model_b for v in votes])
    place = {name: index for index, name in enumerate(names)}
    return Ballots(
        tuple(names),
        np.array([place[v.model_a] for v in votes], np.int32),
        np.array([place[v.model_b] for v in votes], np.int32),
        np.array([OUTCOMES[v.winner] for v in votes], np.int8),
    )
