"""Readers of AGIEval (v1 files), GAOKAO-Bench (old and new layout) and C3."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.messages import warn
from langraft.evals.suites.question import LETTERS, Question, Subject
from langraft.evals.suites.tables import csv_rows, field, json_of, records

PROMPTS = "few_shot_prompts.csv"
SHARED_SHOTS = {"sat-en-without-passage": "sat-en"}
_INLINE = re.compile(r"(?<![A-Za-z])([A-Z])\s*[.．、]")
_OPTION = re.compile(r"^\s*\(([A-Z])\)\s*", re.DOTALL)


def agieval(
    files: Mapping[str, bytes], pattern: re.Pattern[str], _split: str = "", _shots: str = ""
) -> list[Subject]:
    """One subject a `.jsonl` file; worked examples from `few_shot_prompts.csv`, as many as it holds
    for the subject (three to five).

    Raises:
        BadInput: a record lacks a field.
    """
    shots = {}
    for name, content in files.items():
        if name.endswith(PROMPTS):
            shots = agieval_shots(name, content)
    subjects = []
    for name, content in sorted(files.items()):
        found = pattern.search(name)
        if found is None or name.endswith(PROMPTS):
            continue
        key = found["subject"]
        questions, skipped = [], Counter[str]()
        for place, record in records(name, content):
            question, reason = _agieval_question(place, record)
            if question is None:
                skipped[reason] += 1
                warn(f"{place}: {reason}; the item is left out")
            else:
                questions.append(question)
        worked = shots.get(SHARED_SHOTS.get(key, key), [])
        if key in SHARED_SHOTS:
            worked = [_without_passage(shot) for shot in worked]
        subjects.append(Subject(key, questions, worked, skipped))
    return subjects


def agieval_shots(name: str, content: bytes) -> dict[str, list[Question]]:
    """The worked examples of each subject: rows 1, 3, 5, ... hold them as Python literals."""
    rows = list(csv_rows(name, content))
    header = rows[0][1]
    found: dict[str, list[Question]] = {key: [] for key in header[1:]}
    for place, row in rows[1:]:
        if not row[0].startswith("sample"):
            continue
        for key, cell in zip(header[1:], row[1:], strict=False):
            if not cell.strip():
                continue
            try:
                record = ast.literal_eval(cell)
            except (ValueError, SyntaxError) as error:
                raise BadInput(f"{place}, {key}: not a Python literal ({error})") from error
            question, reason = _agieval_question(f"{place}, {key}", record)
            if question is None:
                raise BadInput(f"{place}, {key}: {reason}")
            found[key].append(question)
    return found


def _agieval_question(place: str, record: Mapping[str, Any]) -> tuple[Question | None, str]:
    passage = record.get("passage") or ""
    text = str(field(place, record, "question"))
    options, label = record.get("options"), record.get("label")
    if not options:
        answer = record.get("answer")
        if answer is None or str(answer) == "":
            return None, "no answer"
        return Question(text, targets=(str(answer),), passage=passage, place=place), ""
    listing = " ".join(map(str, options))
    labels, texts = LETTERS[: len(options)], tuple(_OPTION.sub("", str(o)) for o in options)
    if len(options) == 1:  # some worked examples hold all their options in one string
        labels, texts = inline_labels(listing), ()
    # jec-qa and gaokao-physics hold lists; gaokao-mathqa strings such as "A B".
    right = "".join(sorted("".join(label).replace(" ", ""))) if label else ""
    if not right:
        return None, "no answer"
    if any(letter not in labels for letter in right):
        return None, f"answer {right!r} is not one of {labels[0]}-{labels[-1]}"
    return (
        Question(text, labels, texts, listing, answers=(right,), passage=passage, place=place),
        "",
    )


def _without_passage(shot: Question) -> Question:
    return dataclasses.replace(shot, passage="")


def gaokao(
    files: Mapping[str, bytes], pattern: re.Pattern[str], _split: str = "", _shots: str = ""
) -> list[Subject]:
    """One subject a file, in the layout before or after its folders were renamed.

    Raises:
        BadInput: a file without the list `example`, or a record without question or answer.
    """
    subjects = []
    for name, content in sorted(files.items()):
        found = pattern.search(name)
        if found is None:
            continue
        tree = json_of(name, content)
        if not isinstance(tree, dict) or not isinstance(tree.get("example"), list):
            raise BadInput(f"{name}: a GAOKAO-Bench file holds its items under 'example'")
        questions, skipped = [], Counter[str]()
        for number, record in enumerate(tree["example"]):
            place = f"{name}: example[{number}]"
            text = str(field(place, record, "question")).strip()
            answers = field(place, record, "answer")
            answers = tuple([answers] if isinstance(answers, str) else answers)
            labels = inline_labels(text)
            if not answers or not all(answers):
                skipped["no answer"] += 1
            elif any(letter not in labels for answer in answers for letter in answer):
                skipped[f"answer outside {labels or 'its options'}"] += 1
                warn(f"{place}: answer {answers} is not among the options {labels!r}; left out")
            else:
                questions.append(Question(text, labels, answers=answers, place=place))
        subjects.append(Subject(found["subject"], questions, (), skipped))
    return subjects


def inline_labels(text: str) -> str:
    """The letters of options that stand in the text (`A. `, `B．`), at least up to D: some files
    lack the dot after a letter in the middle.
    """
    found = set(_INLINE.findall(text))
    last = max((letter for letter in found if letter <= "G"), default="D")
    return LETTERS[: max(4, LETTERS.index(last) + 1)]


def c3(
    files: Mapping[str, bytes], pattern: re.Pattern[str], split: str, shots: str
) -> list[Subject]:
    """Dialogues (`d`) and mixed texts (`m`), each a subject.

    Raises:
        BadInput: a record is no [texts, questions, id] triple, or its answer is not a choice.
    """
    parts: dict[str, dict[str, list[Question]]] = {}
    for name, content in sorted(files.items()):
        found = pattern.search(name)
        if found is not None and found["split"] in (split, shots):
            questions = _c3_questions(name, json_of(name, content))
            parts.setdefault(found["subject"], {})[found["split"]] = questions
    names = {"d": "dialogue", "m": "mixed"}
    return [
        Subject(names[key], by_split[split], by_split.get(shots, []))
        for key, by_split in sorted(parts.items())
        if split in by_split
    ]


def _c3_questions(name: str, tree: Any) -> list[Question]:
    found = []
    for number, record in enumerate(tree):
        if not (isinstance(record, list) and len(record) == 3):
            raise BadInput(f"{name}[{number}]: a C3 record is [texts, questions, id]")
        passage = "\n".join(record[0])
        for asked in record[1]:
            place = f"{name}[{number}] {record[2]}"
            choices = [str(choice) for choice in field(place, asked, "choice")]
            answer = str(field(place, asked, "answer"))
            if answer not in choices:
                raise BadInput(f"{place}: the answer {answer!r} is not among its choices")
            labels = LETTERS[: len(choices)]
            letter = labels[choices.index(answer)]
            text = str(field(place, asked, "question"))
            found.append(
                Question(
                    text, labels, tuple(choices), answers=(letter,), passage=passage, place=place
                )
            )
    return found
