"""A question, a subject and a suite's data, whatever file they came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclasses.dataclass(frozen=True)
class Question:
    """One item of an exam.

    Attributes:
        text: the question itself; for a record whose options stand in its text, all of it.
        labels: the letters to choose from; empty for an open question.
        options: the options' texts, one a label, or nothing where they stand in `text`.
        listing: the options as the file itself prints them, where that is part of the format.
        answers: the right letters of each part: `("B",)`; `("AC",)` where two are right;
            `("C", "F", "A")` for a record that asks three things. Empty for an open question.
        targets: what an open question accepts.
        passage: the text that is asked about.
        place: file and line, for messages.
    """

    text: str
    labels: str = ""
    options: tuple[str, ...] = ()
    listing: str = ""
    answers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    passage: str = ""
    place: str = ""

    @property
    def single(self) -> bool:
        """Exactly one part with exactly one right letter."""
        return len(self.answers) == 1 and len(self.answers[0]) == 1


@dataclasses.dataclass(frozen=True)
class Subject:
    """The questions of one exam subject.

    Attributes:
        key: the subject's name in file names.
        shots: worked examples to show, in their published order.
        skipped: how many items cannot be scored, by reason.
        measure: how written answers are scored, a name of `written.MEASURES`; the suite's own way
            without one.
        new_tokens: written at most; as many as the protocol says when 0.
    """

    key: str
    questions: Sequence[Question]
    shots: Sequence[Question] = ()
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    measure: str = ""
    new_tokens: int = 0


def of_split(
    parts: Mapping[str, Mapping[str, Sequence[Question]]],
    split: str,
    shots: str,
    lost: Mapping[str, Mapping[str, int]],
) -> list[Subject]:
    """The subjects that have the split, from questions by subject and split.

    Args:
        split, shots: the splits to score and to take worked examples from.
        lost: by subject, how many items of the split cannot be scored, by reason.
    """
    return [
        Subject(key, by_split[split], by_split.get(shots, []), lost.get(key, {}))
        for key, by_split in sorted(parts.items())
        if split in by_split
    ]
