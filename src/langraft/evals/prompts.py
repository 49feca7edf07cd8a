"""From a question to what the model reads: worked examples first, whole ones dropped when the
window is too small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from langraft.evals.protocols import Wording
from langraft.evals.suites import Question, Subject, name_of

Encode = Callable[[str], list[int]]


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writes the prompts of one subject.

    Attributes:
        strip: take blanks off the ends of questions.
    """

    suite: str
    subject: Subject
    wording: Wording
    strip: bool = False

    def prompt(self, question: Question, shots: int) -> str:
        """What is asked, after `shots` worked examples."""
        wording = self.wording
        parts = [self._named(wording.header if shots else wording.zero)]
        parts += [self.worked(shot) for shot in self.subject.shots[:shots]]
        return wording.join.join([*filter(None, parts), self.item(question)])

    def item(self, question: Question) -> str:
        """The question alone."""
        return self._write(self.wording.item, question)

    def worked(self, shot: Question) -> str:
        """A worked example."""
        wording = self.wording
        if wording.form == "fill":
            before, after = shot.text.split("_", 1)
            option = shot.options[shot.labels.index(shot.answers[0])]
            return f"{before}{option} {after.strip()}"  # the harness's blank, before a stop as well
        answer = wording.answer.format(answer=solution(shot, wording))
        return self._write(wording.shot or wording.item, shot) + answer

    def _write(self, template: str, question: Question) -> str:
        wording = self.wording
        listed = question.listing or wording.between.join(
            wording.option.format(letter=letter, text=text)
            for letter, text in zip(question.labels, question.options, strict=False)
        )
        passage = question.passage and wording.passage.format(passage=question.passage)
        text = question.text.strip() if self.strip else question.text
        return template.format(
            question=text, options=listed, passage=passage, plain=question.passage
        )

    def _named(self, text: str) -> str:
        name = name_of(self.suite, self.subject.key)
        title = " ".join(w.upper() if w == "us" else w.title() for w in name.split())
        return text.format(key=self.subject.key, name=name, Name=title)


def solution(shot: Question, wording: Wording) -> str:
    """What a worked example answers: a letter, an option's text, or the open answer."""
    if wording.form == "texts":
        return shot.options[shot.labels.index(shot.answers[0][0])]
    if shot.answers:
        return "".join(shot.answers)
    return shot.options[0] if shot.options else shot.targets[0]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt that fits.

    Attributes:
        shots: worked examples that are left in it.
        cut: the item itself was too long: tokens were taken out of its middle.
    """

    text: str
    ids: tuple[int, ...]
    shots: int
    cut: bool = False


def fit(writer: Writer, question: Question, encode: Encode, room: int) -> Prompt:
    """The prompt with as many worked examples as `room` tokens hold, the last ones dropped first;
    when even none fits, the middle of the item is cut out.
    """
    shots = len(writer.subject.shots)
    while True:
        text = writer.prompt(question, shots)
        ids = encode(text)
        if len(ids) <= room:
            return Prompt(text, tuple(ids), shots)
        if not shots:
            return Prompt(text, tuple(_without_middle(ids, room)), 0, cut=True)
        shots -= 1


def _without_middle(ids: Sequence[int], room: int) -> list[int]:
    head = room // 2
    return [*ids[:head], *ids[len(ids) - (room - head) :]]
