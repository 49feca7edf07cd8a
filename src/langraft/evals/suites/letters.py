"""Readers of exams: MMLU (csv without header), CMMLU and C-Eval (with a header), the same as the
hub's parquet, and a user's own file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from langraft.core.errors import BadInput
from langraft.core.messages import warn
from langraft.evals.suites.question import LETTERS, Question, Subject
from langraft.evals.suites.tables import csv_rows, field, records

HEADERLESS = ("question", "a", "b", "c", "d", "answer")
Skipped = Counter[str]


def exam_csv(
    files: Mapping[str, bytes], pattern: re.Pattern[str], split: str, shots: str
) -> list[Subject]:
    """Subjects of a folder with one csv or parquet file a subject and split.

    Args:
        pattern: matches a path; its groups `split` and `subject`, for parquet `hub_split` and
            `hub_subject`, say what the file is.
        split, shots: the splits to score and to take worked examples from.

    Raises:
        BadInput: a column is missing, or no item of the split has an answer.
    """
    places: dict[str, dict[str, str]] = {}
    for name in files:
        found = pattern.search(name)
        if found is not None:
            part = (found["split"] or found["hub_split"]).lower()
            part = "val" if part == "validation" else part
            places.setdefault(found["subject"] or found["hub_subject"], {})[part] = name
    subjects = []
    for key, by_split in sorted(places.items()):
        if split not in by_split:
            continue
        name = by_split[split]
        questions, skipped = letter_questions(name, files[name])
        examples = by_split.get(shots)
        worked = letter_questions(examples, files[examples])[0] if examples else []
        subjects.append(Subject(key, questions, worked, skipped))
    return subjects


def user_csv(
    files: Mapping[str, bytes], _pattern: re.Pattern[str], split: str, shots: str
) -> list[Subject]:
    """A user's own questions: columns question, A, B, ... and answer; `subject` and `split` too,
    where there are several.
    """
    subjects: dict[str, dict[str, list[Question]]] = {}
    lost: dict[str, Skipped] = {}
    for name, content in sorted(files.items()):
        rows = list(csv_rows(name, content))
        columns = _columns(name, rows)
        start = 0 if columns is _NO_HEADER else 1
        for place, row in rows[start:]:
            cell = {key: row[at] for key, at in columns.items() if at < len(row)}
            key = cell.get("subject") or re.sub(r"\.csv$", "", name.rsplit("/", 1)[-1])
            question, reason = _question(place, row, columns)
            if question is None:
                lost.setdefault(key, Counter())[reason] += 1
                subjects.setdefault(key, {})
                continue
            part = cell.get("split", split).strip() or split
            subjects.setdefault(key, {}).setdefault(part, []).append(question)
    found = []
    for key, parts in subjects.items():
        scored = parts.get(split, [])
        found.append(Subject(key, scored, parts.get(shots, []), lost.get(key, {})))
    return found


def letter_questions(name: str, content: bytes) -> tuple[list[Question], Skipped]:
    """The questions of one csv or parquet file, and how many rows were left out, by reason.

    Raises:
        BadInput: a column is missing, or the split holds no answers at all.
    """
    rows = _hub_rows(name, content) if name.endswith(".parquet") else list(csv_rows(name, content))
    columns = _columns(name, rows)
    questions, skipped = [], Skipped()
    for place, row in rows if columns is _NO_HEADER else rows[1:]:
        question, reason = _question(place, row, columns)
        if question is None:
            skipped[reason] += 1
            warn(f"{place}: {reason}; the item is left out")
        else:
            questions.append(question)
    return questions, skipped


def _hub_rows(name: str, content: bytes) -> list[tuple[str, list[str]]]:
    """The hub's records as rows under a header: MMLU's hold a list of choices and the right one's
    number, CMMLU's and C-Eval's the columns of their csv files.
    """
    rows = [(name, [*HEADERLESS])]
    for place, record in records(name, content):
        cells = {key.lower(): value for key, value in record.items()}
        choices = cells.get("choices") or [field(place, cells, letter) for letter in "abcd"]
        answer = field(place, cells, "answer")
        if isinstance(answer, int):  # -1 where a test split holds none
            answer = LETTERS[answer] if 0 <= answer < len(choices) else ""
        rows.append((place, [str(c) for c in (field(place, cells, "question"), *choices, answer)]))
    if len(rows) > 1 and not any(row[-1].strip() for _, row in rows[1:]):
        raise BadInput(f"{name}: no record has an answer; choose another split with --split")
    return rows


_NO_HEADER = {key: at for at, key in enumerate(HEADERLESS)}


def _columns(name: str, rows: Sequence[tuple[str, list[str]]]) -> Mapping[str, int]:
    """Where each column stands; MMLU's order when there is no header."""
    if not rows:
        return _NO_HEADER
    header = [cell.strip().lower() for cell in rows[0][1]]
    six = len(header) == len(HEADERLESS) and "question" not in header
    if (six and header[-1] in ("a", "b", "c", "d")) or "a" not in header or "b" not in header:
        if len(header) != len(HEADERLESS):
            raise BadInput(
                f"{rows[0][0]}: {len(header)} columns and no header; a csv without one has "
                f"{len(HEADERLESS)}: {', '.join(HEADERLESS)}"
            )
        return _NO_HEADER
    columns = {key: at for at, key in enumerate(header) if key}
    if "question" not in columns:
        raise BadInput(f"{rows[0][0]}: the column 'question' is missing; found {', '.join(header)}")
    if "answer" not in columns:
        raise BadInput(
            f"{rows[0][0]}: the column 'answer' is missing, so this split cannot be scored; "
            "choose another with --split, or bring its answers"
        )
    return columns


def _question(
    place: str, row: Sequence[str], columns: Mapping[str, int]
) -> tuple[Question | None, str]:
    labels = "".join(_labels(columns))
    if len(row) <= max(columns["answer"], columns["question"], columns[labels[-1].lower()]):
        raise BadInput(f"{place}: {len(row)} columns, {len(columns)} were expected")
    options = [row[columns[letter.lower()]] for letter in labels]
    while (
        len(options) > 2 and not options[-1].strip()
    ):  # a user's file may offer fewer choices in a row
        options.pop()
    labels = labels[: len(options)]
    answer = row[columns["answer"]].strip().upper()
    if not answer:
        return None, "no answer"
    if answer not in list(labels):
        return None, f"answer {answer!r} is not one of {labels[0]}-{labels[-1]}"
    text = row[columns["question"]]
    return Question(text, labels, tuple(options), answers=(answer,), place=place), ""


def _labels(columns: Iterable[str]) -> list[str]:
    """The letters that have a column, from A on without a gap."""
    known, found = set(columns), []
    for letter in LETTERS:
        if letter.lower() not in known:
            break
        found.append(letter)
    return found
