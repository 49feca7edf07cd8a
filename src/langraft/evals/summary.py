"""Scores of a suite: by subject, by group, over questions and over subjects, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from langraft.evals.plan import Plan
from langraft.evals.statistics import Estimate, macro, micro
from langraft.evals.suites import SUITES, Exam, group_of

# The fields of a result line that are scores, and what each is called.
MEASURES = {
    "score": "",  # what the suite calls it
    "normed": "accuracy by length",
    "f1": "F1",
    "language": "written in the question's language",
}


@dataclasses.dataclass(frozen=True)
class Summary:
    """What one evaluation found.

    Attributes:
        measures: by name: `micro` (over questions), `macro` (over subjects), `groups` (over each
            group's questions) and `subjects`.
        left_out: items that could not be scored, by reason.
        notes: what a reader must know to trust the numbers.
    """

    card: Mapping[str, Any]
    measures: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, int]
    notes: Sequence[str]

    @property
    def main(self) -> Estimate:
        """The suite's own measure over questions."""
        found = self.measures[SUITES[self.card["suite"]].measure]["micro"]
        return Estimate(**found)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for manifests and `--json`."""
        return dataclasses.asdict(self)


def summarise(
    exam: Exam, card: Mapping[str, Any], results: Sequence[Mapping[str, Any]], plan: Plan
) -> Summary:
    """Every measure that the results hold."""
    measures = {
        name or SUITES[exam.suite].measure: _measure(exam.suite, results, field)
        for field, name in MEASURES.items()
        if any(field in result for result in results)
    }
    return Summary(card, measures, plan.left_out, _notes(exam, results, plan))


def _measure(suite: str, results: Sequence[Mapping[str, Any]], field: str) -> dict[str, Any]:
    subjects: dict[str, list[float]] = {}
    groups: dict[str, list[float]] = {}
    for result in results:
        if field not in result:
            continue
        subjects.setdefault(result["subject"], []).append(result[field])
        group = group_of(suite, result["subject"])
        if group:
            groups.setdefault(group, []).append(result[field])
    values = [value for found in subjects.values() for value in found]
    return {
        "micro": dataclasses.asdict(micro(values)),
        "macro": dataclasses.asdict(macro(subjects)),
        "groups": {k: dataclasses.asdict(micro(v)) for k, v in sorted(groups.items())},
        "subjects": {k: dataclasses.asdict(micro(v)) for k, v in sorted(subjects.items())},
    }


def _notes(exam: Exam, results: Sequence[Mapping[str, Any]], plan: Plan) -> list[str]:
    notes = [f"{count} items left out: {reason}" for reason, count in plan.left_out.items()]
    if plan.shortened:
        notes.append(f"{plan.shortened} items lost whole worked examples to the window")
    if plan.cut:
        notes.append(f"{plan.cut} items were too long even so and lost their middle")
    counts = {len(subject.shots) for subject in exam.subjects}
    if exam.shots and counts != {exam.shots}:
        held = f"{min(counts)}-{max(counts)}" if len(counts) > 1 else str(min(counts))
        notes.append(f"{exam.shots} worked examples asked for, the subjects hold {held}")
    nothing = sum(result.get("picked") == "" for result in results)
    if nothing:
        notes.append(f"{nothing} written answers are empty or name no option, and count as wrong")
    if exam.split != SUITES[exam.suite].split:
        notes.append(f"scored on the split {exam.split!r}, not {SUITES[exam.suite].split!r}")
    return notes
