"""Preferences labelled by a judge model (AI feedback), and answers scored by rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.arena.judge import Jury, judge_battles
from langraft.arena.questions import Question
from langraft.core.errors import BadInput
from langraft.core.io import open_atomic, sha256_json
from langraft.data.checks import read_all
from langraft.data.conversations import ASSISTANT, USER, Conversation, Message
from langraft.data.objects import Unfit
from langraft.data.rules import Reply, best, check_rules, scores

PAIRS = "preferences.jsonl"
Turns = tuple[Message, ...]


def _usable(path: Path) -> Iterator[Conversation]:
    for found in read_all([path]):
        if not isinstance(found, Unfit):
            yield found


def label_pairs(files: Sequence[Path], jury: Jury, out: Path) -> dict[str, Any]:
    """Judge every two files' answers to each question that all files answer, in both orders, and
    write those on which both orders agree to `out/preferences.jsonl`.

    Every reply of the judge is kept in `out`; a call that broke off goes on there.

    Returns:
        how many questions and pairs there were, and what the judge said of them.

    Raises:
        BadInput: fewer than two files, or no question in common.
        RunFailed: the judge failed; what it said before is kept.
    """
    if len(files) < 2:
        raise BadInput(f"{len(files)} file of answers: a judge needs at least two to compare")
    by_file = {
        str(number): {c.messages[:-1]: c.messages[-1].content for c in _usable(path)}
        for number, path in enumerate(files, 1)
    }
    first, *others = by_file.values()
    asked = [turns for turns in first if all(turns in other for other in others)]
    if not asked:
        raise BadInput("the files have no question in common that all of them answer")
    questions = {_question(turns).id: turns for turns in asked}
    answers = {
        name: {
            number: [*_said(turns, ASSISTANT), found[turns]] for number, turns in questions.items()
        }
        for name, found in by_file.items()
    }
    battles = judge_battles(jury, [_question(turns) for turns in asked], answers, out)
    lines = list(_preferences(battles, questions, by_file, jury.judge.name))
    with open_atomic(out / PAIRS) as stream:
        stream.writelines(lines)
    kinds = Counter("a side" if b["winner"] in ("a", "b") else b["winner"] for b in battles)
    return {
        "questions": len(asked),
        "judged": len(battles),
        "preferences": len(lines),
        "dropped": {"orders disagree or tie": kinds["tie"], "no verdict": kinds["invalid"]},
        "file": str(out / PAIRS),
    }


def _question(turns: Turns) -> Question:
    return Question(sha256_json(turns)[:16], "", "", tuple(_said(turns, USER)))


def _said(turns: Turns, role: str) -> list[str]:
    return [message.content for message in turns if message.role == role]


def _preferences(
    battles: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Turns],
    by_file: Mapping[str, Mapping[Turns, str]],
    judge: str,
) -> Iterator[bytes]:
    for battle in battles:
        if battle["winner"] not in ("a", "b"):
            continue
        turns = questions[battle["question_id"]]
        sides = (battle["model_a"], battle["model_b"])
        chosen, rejected = (
            by_file[name][turns] for name in (sides if battle["winner"] == "a" else sides[::-1])
        )
        if chosen == rejected:
            continue
        record = {
            "messages": [message._asdict() for message in turns],
            "chosen": chosen,
            "rejected": rejected,
            "judge": judge,
        }
        yield json.dumps(record, ensure_ascii=False).encode() + b"\n"


def score_files(
    files: Sequence[Path], rules: Mapping[str, float], out: Path | None = None
) -> dict[str, Any]:
    """The mean of every rule over all answers, by file; with `out`, the best answer to each
    question is written there (best of n).

    Raises:
        BadInput: an unknown rule, or no answer.
    """
    check_rules(rules)
    means: dict[str, dict[str, float]] = {}
    answers: dict[Turns, list[str]] = {}
    for path in files:
        found = list(_usable(path))
        if not found:
            raise BadInput(f"{path}: there is no answer to score")
        rows = [scores(_reply(c.messages[:-1], c.messages[-1].content), rules) for c in found]
        means[str(path)] = {n: round(sum(r[n] for r in rows) / len(rows), 4) for n in rules}
        for conversation in found:
            told = answers.setdefault(conversation.messages[:-1], [])
            told.append(conversation.messages[-1].content)
    if out is not None:
        with open_atomic(out) as stream:
            stream.writelines(_best(turns, told, rules) for turns, told in answers.items())
    return {"means": means, "questions": len(answers), "answers": sum(map(len, answers.values()))}


def _reply(turns: Turns, answer: str) -> Reply:
    return Reply(turns[-1].content, answer)


def _best(turns: Turns, answers: Sequence[str], rules: Mapping[str, float]) -> bytes:
    chosen = answers[best([_reply(turns, answer) for answer in answers], rules)]
    messages = [m._asdict() for m in (*turns, Message(ASSISTANT, chosen))]
    return json.dumps({"messages": messages}, ensure_ascii=False).encode() + b"\n"
