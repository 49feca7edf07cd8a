"""Preferences out of comparison files: pairs, ranked lists and scored answers."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from langraft.data.conversations import (
    ASSISTANT,
    SPEAKERS,
    SYSTEM,
    USER,
    Message,
    Refused,
    flaw_of,
    instruction_of,
    message_of,
    text_of,
    told,
)
from langraft.data.objects import Unfit, read_objects

# Anthropic's transcripts, which also stand for their turns in other sets made after them.
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):\s?")


@dataclasses.dataclass(frozen=True)
class Preference:
    """Two answers to one conversation, the first of them preferred.

    Attributes:
        messages: up to the last question.
        margin: by how much it is better, in the file's own points; 0 where it does not say.
        weight: pairs of one list share the weight of one pair.
        path, line: the file, and the line or the number of the record.
    """

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    margin: float = 0.0
    weight: float = 1.0
    path: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.path}:{self.line}"


class Ranked(NamedTuple):
    """Answers to one conversation, best first; equal scores are ties."""

    messages: list[Message]
    answers: list[str]
    scores: list[float] | None = None


def _question(record: Mapping[str, Any]) -> list[Message]:
    """What both answers answer, under whatever key it stands."""
    if "instruction" in record:
        return instruction_of(record)
    for key in ("conversations", "prompt", "messages"):
        if isinstance(record.get(key), list):
            return [message_of(turn) for turn in record[key]]
    for key in ("prompt", "question", "query"):
        if key in record:
            return told(text_of(record[key]))
    raise Refused("there is no question")


def _answer(value: Any) -> str:
    if isinstance(value, Mapping):
        return message_of(value).content
    if isinstance(value, list) and value:
        return message_of(value[-1]).content
    return text_of(value)


def _pair(record: Mapping[str, Any]) -> Ranked:
    chosen, rejected = record["chosen"], record["rejected"]
    has_question = any(
        k in record for k in ("instruction", "conversations", "messages", "prompt", "question")
    )
    if has_question or not isinstance(chosen, str | list):
        question = _question(record)
    elif isinstance(chosen, str):
        return _whole(_transcript(chosen), _transcript(rejected), record)
    else:
        return _whole([*map(message_of, chosen)], [*map(message_of, rejected)], record)
    return Ranked(question, [_answer(chosen), _answer(rejected)], _pair_scores(record))


def _whole(a: list[Message], b: list[Message], record: Mapping[str, Any]) -> Ranked:
    """Two whole conversations that differ in their last turn."""
    if a[:-1] != b[:-1] or not a or a[-1].role != ASSISTANT or b[-1].role != ASSISTANT:
        raise Refused("chosen and rejected differ before their last answer")
    return Ranked(a[:-1], [a[-1].content, b[-1].content], _pair_scores(record))


def _pair_scores(record: Mapping[str, Any]) -> list[float] | None:
    for better, worse in (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")):
        if better in record and worse in record:
            return [float(record[better]), float(record[worse])]
    if isinstance(record.get("margin"), int | float):
        return [float(record["margin"]), 0.0]
    return None


def _transcript(text: str) -> list[Message]:
    marks = list(_TRANSCRIPT.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        Message(SPEAKERS[mark[1]], text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]


def _messages(record: Mapping[str, Any]) -> Ranked:
    chosen = [message_of(turn) for turn in record["chosen_messages"]]
    return _whole(chosen, [message_of(turn) for turn in record["rejected_messages"]], record)


def _list(key: str) -> Callable[[Mapping[str, Any]], Ranked]:
    """Answers under `key`, best first; or with a score each, in the answer or under `scores`."""

    def convert(record: Mapping[str, Any]) -> Ranked:
        answers = list(record[key])
        scores = record.get("scores")
        if scores is None and answers and isinstance(answers[0], Mapping) and "score" in answers[0]:
            scores = [answer["score"] for answer in answers]
        texts = [_scored_text(answer) for answer in answers]
        if scores is None:
            return Ranked(_question(record), texts)
        if len(scores) != len(texts):
            raise Refused(f"{len(texts)} answers and {len(scores)} scores")
        order = sorted(range(len(texts)), key=lambda n: -float(scores[n]))
        points = [float(scores[n]) for n in order]
        return Ranked(_question(record), [texts[n] for n in order], points)

    return convert


def _scored_text(answer: Any) -> str:
    if isinstance(answer, Mapping):
        keys = ("text", "content", "value", "answer", "response", "output")
        return text_of(next((answer[key] for key in keys if key in answer), None))
    return text_of(answer)


class Layout(NamedTuple):
    """A way of writing preferences: the keys it is known by, and what makes a ranking of it."""

    keys: tuple[str, ...]
    convert: Callable[[Mapping[str, Any]], Ranked]
    lists: tuple[str, ...] = ()


LAYOUTS: Mapping[str, Layout] = {
    "messages": Layout(("chosen_messages", "rejected_messages"), _messages),
    "pair": Layout(("chosen", "rejected"), _pair),
    "ranked": Layout(("output",), _list("output"), ("output",)),
    "answers": Layout(("answers",), _list("answers"), ("answers",)),
    "responses": Layout(("responses",), _list("responses"), ("responses",)),
}


def read_preferences(path: Path) -> Iterator[Preference | Unfit]:
    """The pairs of one file, every two answers of a list being one, and what makes none.

    Raises:
        BadInput: the file cannot be read.
    """
    for found in read_objects(path):
        if isinstance(found, Unfit):
            yield found
            continue
        line, record = found
        layout = next((x for x in LAYOUTS.values() if _fits(x, record)), None)
        if layout is None:
            keys = ", ".join(map(repr, record))
            yield Unfit(str(path), line, f"no known layout of preferences; its keys are {keys}")
            continue
        try:
            ranked = layout.convert(record)
            yield from _pairs(ranked, str(path), line)
        except (Refused, KeyError, TypeError, ValueError, AttributeError) as error:
            yield Unfit(str(path), line, str(error))


def _fits(layout: Layout, record: Mapping[str, Any]) -> bool:
    return all(key in record for key in layout.keys) and all(
        isinstance(record[key], list) for key in layout.lists
    )


def _pairs(ranked: Ranked, path: str, line: int) -> Iterator[Preference | Unfit]:
    messages = tuple(
        Message(turn.role, turn.content.strip())
        for turn in ranked.messages
        if turn.role != SYSTEM or turn.content.strip()
    )
    answers = [answer.strip() for answer in ranked.answers]
    scores = ranked.scores
    places = [
        (i, j)
        for i, j in itertools.combinations(range(len(answers)), 2)
        if scores is None or scores[i] != scores[j]
    ]
    if not places:
        yield Unfit(path, line, "there are no two answers of different rank")
    for i, j in places:
        margin = 0.0 if scores is None else scores[i] - scores[j]
        pair = Preference(messages, answers[i], answers[j], margin, 1 / len(places), path, line)
        flaw = pair_flaw(pair)
        yield Unfit(path, line, flaw) if flaw else pair


def pair_flaw(pair: Preference) -> str | None:
    """Why a pair cannot be learnt from, or None."""
    if not pair.messages or pair.messages[-1].role != USER:
        return "the conversation does not end with a question"
    if pair.margin < 0:
        return f"the rejected answer has the higher score, by {-pair.margin:g}"
    if pair.chosen == pair.rejected:
        return "chosen is equal to rejected"
    flaws: Sequence[str | None] = [
        flaw_of([*pair.messages, Message(ASSISTANT, answer)])
        for answer in (pair.chosen, pair.rejected)
    ]
    return next((flaw for flaw in flaws if flaw), None)
