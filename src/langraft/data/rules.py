"""Rules that score an answer without a model: a table of pure functions (RBRS).

Each gives 0 to 1, 1 being best. They reward rollouts, choose the best of several answers, and score
files offline.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from langraft.core.errors import BadInput
from langraft.corpus.language import UNKNOWN, LanguageIdentifier


class Reply(NamedTuple):
    """An answer to a question; `ended`: the model ended it itself."""

    question: str
    answer: str
    ended: bool = True


REFUSALS = (
    *("作为一个人工智能", "作为AI", "作为一个AI", "我无法", "我不能提供", "抱歉，我", "对不起，我"),
    *("As an AI", "I'm sorry, but", "I cannot", "I can't help"),
)


def length(reply: Reply, least: float = 10, most: float = 300) -> float:
    """1 between `least` and `most` characters, falling evenly to 0 at none and at twice `most`."""
    size = len(reply.answer)
    if size < least:
        return size / least
    return max(0.0, 1 - max(0.0, size - most) / most)


def repetition(reply: Reply, width: float = 4) -> float:
    """The share of different pieces among all pieces of `width` characters; 1 for a text shorter
    than that.
    """
    size = int(width)
    pieces = [reply.answer[n : n + size] for n in range(len(reply.answer) - size + 1)]
    return len(set(pieces)) / len(pieces) if pieces else 1.0


def same_language(reply: Reply) -> float:
    """The share of the answer in the question's language; 1 where the question is in none."""
    asked, said = _identifier().identify([reply.question, reply.answer])
    if asked.language == UNKNOWN:
        return 1.0
    if said.language == asked.language and not said.mixed:
        return 1.0
    return float(said.shares.get(asked.language, 0.0))


def ended(reply: Reply) -> float:
    """Whether the model ended the answer itself, and said something before."""
    return float(reply.ended and bool(reply.answer.strip()))


def no_refusal(reply: Reply) -> float:
    """0 where the answer's first 40 characters hold a phrase of refusal."""
    start = reply.answer[:40]
    return float(not any(phrase in start for phrase in REFUSALS))


def is_json(reply: Reply) -> float:
    """Whether the answer is a JSON value, alone or inside a code fence."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n```\s*", reply.answer, re.DOTALL)
    try:
        json.loads(fenced[1] if fenced else reply.answer)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def whole_sentence(reply: Reply) -> float:
    """Whether the answer ends like a sentence, a list or a block of code does."""
    return float(reply.answer.rstrip().endswith(tuple("。！？!?.…”’』」）)]}`；;")))


RULES: Mapping[str, Callable[..., float]] = {
    "length": length,
    "repetition": repetition,
    "same-language": same_language,
    "ended": ended,
    "no-refusal": no_refusal,
    "json": is_json,
    "whole-sentence": whole_sentence,
}


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier()


def check_rules(rules: Mapping[str, float]) -> None:
    """See that every rule exists and every weight is a number.

    Raises:
        BadInput: one is not.
    """
    for name, weight in rules.items():
        if name not in RULES:
            raise BadInput(f"rule {name!r}: known are {', '.join(RULES)}")
        if not math.isfinite(weight):
            raise BadInput(f"rule {name}: weight {weight} is not a number")


def scores(reply: Reply, rules: Mapping[str, float]) -> dict[str, float]:
    """What each of some rules gives, by name."""
    return {name: RULES[name](reply) for name in rules}


def total(reply: Reply, rules: Mapping[str, float]) -> float:
    """The weighted sum of some rules."""
    return sum(weight * RULES[name](reply) for name, weight in rules.items())


def best(replies: Sequence[Reply], rules: Mapping[str, float]) -> int:
    """The number of the best of several answers; the first of equals."""
    found = [total(reply, rules) for reply in replies]
    return found.index(max(found))
