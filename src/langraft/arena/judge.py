"""Battles decided by a judge model: both orders always, resumable, nothing that was paid for lost.

A folder holds `answers-NAME.jsonl` for every model, `judgements.jsonl` with every reply of the
judge, and `votes.jsonl` in FastChat's layout for `langraft arena rate`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

from langraft.arena.ledger import Ledger, fingerprint
from langraft.arena.players import Player, Settings, Usage, reply
from langraft.arena.questions import Question
from langraft.arena.verdicts import Template, request, score, verdict
from langraft.arena.votes import Vote, write_votes
from langraft.core.errors import RunFailed
from langraft.core.messages import track

ANSWERS, JUDGEMENTS, VOTES = "answers-{}.jsonl", "judgements.jsonl", "votes.jsonl"
# A reply without a verdict is asked for again so often; a request that failed, `FAILURES` times.
TRIES, FAILURES = 3, 5

Answers = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Jury:
    """How judging is done.

    Attributes:
        judge: the model that decides.
        form: its instructions.
        workers: requests under way at once.
        pause: seconds before the second try; doubled before each further one.
        max_tokens: longest reply of the judge.
    """

    judge: Player
    form: Template
    workers: int = 4
    pause: float = 1.0
    max_tokens: int = 1024


def answers_of(
    player: Player,
    questions: Sequence[Question],
    settings: Settings,
    folder: Path,
    *,
    workers: int = 4,
    pause: float = 1.0,
) -> dict[str, list[str]]:
    """Every question answered by `player`, turn by turn, kept in `folder`; what is there already,
    of this name with these turns and settings, is not asked again.

    Raises:
        RunFailed: the model failed `FAILURES` times in a row; the answers so far are kept.
    """
    name = re.sub(r"[^\w.-]+", "-", player.name)
    ledger = Ledger(folder / ANSWERS.format(name), _answer_key)
    sampled = dataclasses.asdict(settings)

    def row(question: Question) -> dict[str, Any]:
        asked = fingerprint(question.turns, sampled)
        return {"question_id": question.id, "model": player.name, "asked": asked}

    def one(question: Question) -> None:
        talk: list[dict[str, str]] = []
        said: list[str] = []
        for turn in question.turns:
            talk.append({"role": "user", "content": turn})
            text, _ = patiently(player, talk, settings, pause, f"question {question.id}")
            said.append(text)
            talk.append({"role": "assistant", "content": text})
        ledger.add({**row(question), "turns": said})

    missing = [question for question in questions if _answer_key(row(question)) not in ledger.rows]
    _all(one, missing, workers, f"{player.name} answers")
    return {question.id: ledger.rows[_answer_key(row(question))]["turns"] for question in questions}


def _answer_key(row: Mapping[str, Any]) -> str:
    return json.dumps([row["model"], row["question_id"], row["asked"]])


def patiently(
    player: Player,
    messages: Sequence[Mapping[str, str]],
    settings: Settings,
    pause: float,
    what: str,
) -> tuple[str, Usage]:
    """A reply, asked for again while the request fails, after pauses that double.

    Raises:
        RunFailed: it failed `FAILURES` times.
    """
    talk = [dict(message) for message in messages]
    for attempt in range(FAILURES - 1):
        try:
            return reply(player, talk, settings)
        except RunFailed:
            time.sleep(pause * 2**attempt)
    try:
        return reply(player, talk, settings)
    except RunFailed as error:
        raise RunFailed(f"{what}: failed {FAILURES} times: {error}") from error


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

    def asked(question: Question, first: str, second: str) -> tuple[Any, dict[str, Any]]:
        both = [answers[first][question.id], answers[second][question.id]]
        messages = request(jury.form, question.turns, question.references, both)
        return messages, _row(jury, question, messages, first=first, second=second)

    def one(order: tuple[Question, str, str]) -> None:
        messages, row = asked(*order)
        said, found, usage = _ask(jury, messages, verdict, order[0])
        ledger.add({**row, "verdict": found or "invalid", **_paid(usage), "reply": said})

    def key(*order: Any) -> str:
        return _judgement_key(asked(*order)[1])

    _all(one, [o for o in orders if key(*o) not in ledger.rows], jury.workers, "judging")
    return [
        _agreed(question, pair, [ledger.rows[key(question, *o)] for o in (pair, pair[::-1])])
        for question in questions
        for pair in pairs
    ]


def _row(jury: Jury, question: Question, messages: Any, **sides: str) -> dict[str, Any]:
    return {
        "judge": jury.judge.name,
        "kind": jury.form.kind,
        "question_id": question.id,
        **sides,
        "asked": fingerprint(messages),
    }


def _judgement_key(row: Mapping[str, Any]) -> str:
    parts = (row["judge"], row["kind"], row["question_id"], row["first"], row.get("second", ""))
    return json.dumps([*parts, row["asked"]])


def _paid(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "at": time.time(),
    }


def spent(folder: Path, judge: str) -> Usage:
    """What the judge has read and written for `folder`, in this run and all before."""
    total = Usage()
    for row in Ledger(folder / JUDGEMENTS, _judgement_key).rows.values():
        if row["judge"] == judge:
            total += Usage(row["prompt_tokens"], row["completion_tokens"])
    return total


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
    wanted = [(question, model) for question in questions for model in answers]

    def asked(question: Question, model: str) -> tuple[Any, dict[str, Any]]:
        said = [answers[model][question.id]]
        messages = request(jury.form, question.turns, question.references, said)
        return messages, _row(jury, question, messages, first=model)

    def one(item: tuple[Question, str]) -> None:
        messages, row = asked(*item)
        said, found, usage = _ask(jury, messages, score, item[0])
        ledger.add({**row, "score": found, **_paid(usage), "reply": said})

    def key(*item: Any) -> str:
        return _judgement_key(asked(*item)[1])

    _all(one, [item for item in wanted if key(*item) not in ledger.rows], jury.workers, "grading")
    return {
        model: {q.id: ledger.rows[key(q, model)]["score"] for q in questions} for model in answers
    }


def _ask(
    jury: Jury,
    messages: Sequence[Mapping[str, str]],
    read: Callable[[str], Any],
    question: Question,
) -> tuple[str, Any, Usage]:
    """The judge's reply, what `read` finds in it, and what it took, asked again while it finds
    nothing: coldly first, then warmer, for a cold model says the same twice.
    """
    said, found, usage = "", None, Usage()
    for attempt in range(TRIES):
        settings = Settings(0.3 * attempt, top_p=1.0, max_tokens=jury.max_tokens, seed=attempt)
        what = f"question {question.id}: the judge {jury.judge.name}"
        said, used = patiently(jury.judge, messages, settings, jury.pause, what)
        usage += used
        if (found := read(said)) is not None:
            break
    return said, found, usage


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
