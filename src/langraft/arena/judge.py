"""Battles decided by a judge model: both orders always, resumable, nothing that was paid for lost.

A folder holds `answers-NAME.jsonl` for every model, `judgements.jsonl` with every reply of the
judge, and `votes.jsonl` in FastChat's layout for `langraft arena rate`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

from langraft.arena.players import Player, Settings
from langraft.arena.questions import Question
from langraft.arena.verdicts import Template, request, score, verdict
from langraft.arena.votes import Vote, write_votes
from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import disk_errors
from langraft.core.messages import track

ANSWERS, JUDGEMENTS, VOTES = "answers-{}.jsonl", "judgements.jsonl", "votes.jsonl"
TRIES = 3
JUDGE_SETTINGS = Settings(temperature=0.0, top_p=1.0, max_tokens=1024)

Answers = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Jury:
    """How judging is done.

    Attributes:
        judge: the model that decides.
        form: its instructions.
        workers: requests under way at once.
        pause: seconds before the second try; doubled before each further one.
    """

    judge: Player
    form: Template
    workers: int = 4
    pause: float = 1.0


class Ledger:
    """An append-only JSON-lines file, keyed; a line cut short by a kill is dropped and done
    again.
    """

    def __init__(self, path: Path, key: Callable[[Mapping[str, Any]], str]) -> None:
        self._path, self._key, self._lock = path, key, threading.Lock()
        self.rows: dict[str, dict[str, Any]] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                self.rows[key(row)] = row
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{path}:{number}: not a line of this file ({error})") from error
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if whole != content:
                path.write_bytes(whole)

    def add(self, row: dict[str, Any]) -> None:
        """Append one row and flush it."""
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        with self._lock, disk_errors(self._path), self._path.open("ab") as stream:
            stream.write(line)
            self.rows[self._key(row)] = row


def answers_of(
    player: Player, questions: Sequence[Question], settings: Settings, folder: Path, workers: int
) -> dict[str, list[str]]:
    """Every question answered by `player`, turn by turn, kept in `folder`; what is there already is
    not asked again.

    Raises:
        RunFailed: the model failed; the answers so far are kept.
    """
    name = re.sub(r"[^\w.-]+", "-", player.name)
    ledger = Ledger(folder / ANSWERS.format(name), lambda row: str(row["question_id"]))
    missing = [question for question in questions if question.id not in ledger.rows]

    def one(question: Question) -> None:
        talk: list[dict[str, str]] = []
        said: list[str] = []
        for turn in question.turns:
            talk.append({"role": "user", "content": turn})
            said.append("".join(player.stream(talk, settings)))
            talk.append({"role": "assistant", "content": said[-1]})
        ledger.add({"question_id": question.id, "model": player.name, "turns": said})

    _all(one, missing, workers, f"{player.name} answers")
    return {question.id: ledger.rows[question.id]["turns"] for question in questions}


def judge_battles(
    jury: Jury, questions: Sequence[Question], answers: Mapping[str, Answers], folder: Path
) -> list[dict[str, Any]]:
    """One record a question and pair: `model_a`, `model_b`, `verdicts` (one in each order, told of
    model_a and model_b) and `winner`: the verdict on which both orders agree, a tie where they
    do not, `invalid` where the judge gave none.

    Raises:
        RunFailed: the judge failed `TRIES` times in a row; the verdicts so far are kept.
    """
    ledger = Ledger(folder / JUDGEMENTS, _judgement_key)
    pairs = list(combinations(answers, 2))
    orders = [
        (question, first, second)
        for question in questions
        for pair in pairs
        for first, second in (pair, pair[::-1])
    ]
    common = {"judge": jury.judge.name, "kind": "verdict"}

    def key(question: Question, first: str, second: str) -> str:
        row = {**common, "question_id": question.id, "first": first, "second": second}
        return _judgement_key(row)

    def one(order: tuple[Question, str, str]) -> None:
        question, first, second = order
        both = [answers[first][question.id], answers[second][question.id]]
        reply, found = _ask(jury, question, both, verdict)
        row = {**common, "question_id": question.id, "first": first, "second": second}
        ledger.add({**row, "verdict": found or "invalid", "reply": reply, "at": time.time()})

    _all(one, [o for o in orders if key(*o) not in ledger.rows], jury.workers, "judging")
    return [
        _agreed(question, pair, [ledger.rows[key(question, *o)] for o in (pair, pair[::-1])])
        for question in questions
        for pair in pairs
    ]


def _judgement_key(row: Mapping[str, Any]) -> str:
    parts = (row["judge"], row["kind"], row["question_id"], row["first"], row.get("second", ""))
    return json.dumps(parts)


def _agreed(
    question: Question, pair: tuple[str, str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    straight, turned = (row["verdict"] for row in rows)
    turned = {"a": "b", "b": "a"}.get(turned, turned)
    winner = straight if straight == turned else "tie"
    return {
        "question_id": question.id,
        "category": question.category,
        "model_a": pair[0],
        "model_b": pair[1],
        "verdicts": [straight, turned],
        "winner": "invalid" if "invalid" in (straight, turned) else winner,
        "at": max(row["at"] for row in rows),
    }


def judge_scores(
    jury: Jury, questions: Sequence[Question], answers: Mapping[str, Answers], folder: Path
) -> dict[str, dict[str, float | None]]:
    """Grades from 1 to 10 by model and question; None where the judge gave none.

    Raises:
        RunFailed: see `judge_battles`.
    """
    ledger = Ledger(folder / JUDGEMENTS, _judgement_key)
    common = {"judge": jury.judge.name, "kind": "score"}
    wanted = [(question, model) for question in questions for model in answers]

    def key(question: Question, model: str) -> str:
        return _judgement_key({**common, "question_id": question.id, "first": model})

    def one(item: tuple[Question, str]) -> None:
        question, model = item
        reply, found = _ask(jury, question, [answers[model][question.id]], score)
        row = {**common, "question_id": question.id, "first": model, "score": found}
        ledger.add({**row, "reply": reply, "at": time.time()})

    _all(one, [item for item in wanted if key(*item) not in ledger.rows], jury.workers, "grading")
    return {
        model: {q.id: ledger.rows[key(q, model)]["score"] for q in questions} for model in answers
    }


def _ask(
    jury: Jury, question: Question, said: Sequence[Sequence[str]], read: Callable[[str], Any]
) -> tuple[str, Any]:
    """The judge's reply and what `read` finds in it, asked again while it finds nothing."""
    messages = request(jury.form, question.turns, question.references, said)
    reply, failure = "", None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(jury.pause * 2 ** (attempt - 1))
        try:
            settings = dataclasses.replace(JUDGE_SETTINGS, seed=attempt)
            reply, failure = "".join(jury.judge.stream(messages, settings)), None
        except RunFailed as error:
            failure = error
            continue
        if (found := read(reply)) is not None:
            return reply, found
    if failure is not None:
        raise RunFailed(f"question {question.id}: the judge failed {TRIES} times: {failure}")
    return reply, None


def _all(work: Callable[[Any], None], items: Sequence[Any], workers: int, what: str) -> None:
    """Do `work` on every item, `workers` at a time; the first failure stops what has not begun."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in track(futures, what, len(futures)):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def save_votes(
    battles: Iterable[Mapping[str, Any]],
    questions: Sequence[Question],
    answers: Mapping[str, Answers],
    judge: str,
    folder: Path,
) -> int:
    """Write the valid battles as votes, transcripts included, and return how many."""
    words = {"a": "model_a", "b": "model_b", "tie": "tie"}
    by_id = {question.id: question for question in questions}

    def talk(question: Question, model: str) -> tuple[dict[str, str], ...]:
        turns = zip(question.turns, answers[model][question.id], strict=True)
        return tuple(
            {"role": role, "content": text}
            for turn in turns
            for role, text in zip(("user", "assistant"), turn, strict=True)
        )

    votes = [
        Vote(
            model_a=battle["model_a"],
            model_b=battle["model_b"],
            winner=words[battle["winner"]],
            judge=judge,
            tstamp=battle["at"],
            category=battle["category"],
            language=by_id[battle["question_id"]].language,
            question_id=battle["question_id"],
            conversation_a=talk(by_id[battle["question_id"]], battle["model_a"]),
            conversation_b=talk(by_id[battle["question_id"]], battle["model_b"]),
        )
        for battle in battles
        if battle["winner"] != "invalid"
    ]
    return write_votes(folder / VOTES, votes)


def kappa(judged: Sequence[Vote], human: Sequence[Vote]) -> dict[str, float] | None:
    """Agreement with people beyond chance (Cohen 1960) on the question and pair that both decided;
    of several human votes on one the most frequent counts. None when nothing is in common.

    Returns:
        battles in common, the share of equal verdicts, and kappa.
    """
    people: dict[Any, Counter[int]] = {}
    for vote in human:
        place, outcome = _oriented(vote)
        people.setdefault(place, Counter())[outcome] += 1
    pairs = [
        (outcome, people[place].most_common(1)[0][0])
        for place, outcome in map(_oriented, judged)
        if place in people
    ]
    if not pairs:
        return None
    equal = sum(one == other for one, other in pairs) / len(pairs)
    left, right = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(left[value] * right[value] for value in left) / len(pairs) ** 2
    beyond = (equal - chance) / (1 - chance) if chance < 1 else 1.0
    return {"battles": len(pairs), "agreement": equal, "kappa": beyond}


def _oriented(vote: Vote) -> tuple[tuple[str, str, str], int]:
    """The question and pair of a vote whatever the sides, and 1, 0 or -1 for the first by name."""
    first, second = sorted((vote.model_a, vote.model_b))
    outcome = {"model_a": 1, "model_b": -1}.get(vote.winner, 0)
    return (vote.question_id, first, second), outcome if first == vote.model_a else -outcome
