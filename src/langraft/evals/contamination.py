"""Scores with and without the items that the training corpus holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from langraft.evals.statistics import Estimate, micro
from langraft.evals.suites import Exam, Question


class Found(Protocol):
    """One item found in one text."""

    @property
    def suite(self) -> str:
        """The suite's name."""

    @property
    def item(self) -> str:
        """The item's id."""


class Finder(Protocol):
    """An index of items that texts are looked up in, such as the corpus room's."""

    def hits(self, texts: Sequence[str]) -> Sequence[Sequence[Found]]:
        """The items that each text holds."""


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What a corpus holds of a suite.

    Attributes:
        items: ids of the items that were found.
        of: how many were looked for.
        all, clean: the score over all items, and over those that were not found; the latter is
            None when every item was.
    """

    items: tuple[str, ...]
    of: int
    all: Estimate
    clean: Estimate | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def item_texts(exam: Exam) -> Iterator[tuple[str, str, str]]:
    """(suite, id, text) of every item: the question with its options, and its passage on its
    own.
    """
    for subject in exam.subjects:
        for number, question in enumerate(subject.questions):
            name = f"{subject.key}/{number}"
            yield exam.suite, name, whole_text(question)
            if question.passage:
                yield exam.suite, name, question.passage


def whole_text(question: Question) -> str:
    """The question and its options as one text."""
    return " ".join([question.text, *question.options])


def found_items(finder: Finder, texts: Iterable[str], suite: str, batch: int = 256) -> set[str]:
    """The ids of `suite`'s items that any of the texts holds."""
    found: set[str] = set()
    pending: list[str] = []
    for text in texts:
        pending.append(text)
        if len(pending) == batch:
            found |= _ids(finder, pending, suite)
            pending = []
    return found | (_ids(finder, pending, suite) if pending else set())


def _ids(finder: Finder, texts: Sequence[str], suite: str) -> set[str]:
    return {hit.item for hits in finder.hits(texts) for hit in hits if hit.suite == suite}


def overlap(results: Iterable[Mapping[str, Any]], found: set[str]) -> Overlap:
    """Scores with and without the found items.

    Args:
        results: lines of an evaluation: `id` and `score`.
    """
    scores = {str(result["id"]): float(result["score"]) for result in results}
    held = tuple(sorted(name for name in scores if name in found))
    clean = [score for name, score in scores.items() if name not in found]
    every = list(scores.values())
    return Overlap(held, len(scores), micro(every), micro(clean) if clean else None)
