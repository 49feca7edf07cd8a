"""Question banks: ours, MT-bench, AlignBench, or one's own, as one record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import open_binary

OWN = "questions.jsonl"


@dataclasses.dataclass(frozen=True)
class Question:
    """What both models are asked.

    Attributes:
        id: unique in its bank.
        category: as the bank names it.
        language: a code, or empty where the bank does not say.
        turns: the user's messages, one after another.
        references: reference answers, one a turn, or none.
    """

    id: str
    category: str
    language: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


def read_questions(path: Path | None) -> list[Question]:
    """The questions of a JSON-lines file; None gives the 50 that langraft brings.

    Keys: `turns` (MT-bench), or one of `question` (AlignBench), `prompt`, `instruction` (with
    `input`, as in BELLE's instructions); `question_id` or `id`; `category`, or `class` (BELLE's
    evaluation set); `language`; `reference` (a text, or a list with one a turn), or `std_answer`.

    Raises:
        BadInput: no such file, a line that is none, or two questions with one id.
    """
    if path is None:
        own = resources.files("langraft.arena").joinpath(OWN)
        with resources.as_file(own) as here:
            return read_questions(here)
    found: dict[str, Question] = {}
    with open_binary(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                question = _question(line, number, f"{path}:{number}")
                if question.id in found:
                    raise BadInput(f"{path}:{number}: a second question with id {question.id}")
                found[question.id] = question
    if not found:
        raise BadInput(f"{path}: holds no question")
    return list(found.values())


def read_references(path: Path) -> dict[str, tuple[str, ...]]:
    """Reference answers by question id, from MT-bench's `reference_answer` files
    (`choices[0].turns`).

    Raises:
        BadInput: a line in another layout.
    """
    found = {}
    with open_binary(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                item = json.loads(line)
                found[str(item["question_id"])] = tuple(map(str, item["choices"][0]["turns"]))
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise BadInput(f"{path}:{number}: no reference answer ({error})") from error
    return found


def with_references(questions: Sequence[Question], path: Path | None) -> list[Question]:
    """The questions with the reference answers of `path` where it has them.

    Raises:
        BadInput: see `read_references`.
    """
    given = read_references(path) if path is not None else {}
    return [dataclasses.replace(q, references=given.get(q.id, q.references)) for q in questions]


def _question(line: bytes, number: int, where: str) -> Question:
    try:
        item = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{where}: not JSON ({error})") from error
    if not isinstance(item, dict):
        raise BadInput(f"{where}: a question is an object, found {type(item).__name__}")
    turns = _turns(item)
    if not turns or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise BadInput(f"{where}: no question; give `turns`, `question`, `prompt` or `instruction`")
    reference = item.get("reference") or item.get("std_answer") or ()
    return Question(
        id=str(item.get("question_id", item.get("id", number))),
        category=str(item.get("category") or item.get("class") or ""),
        language=str(item.get("language", "")),
        turns=turns,
        references=(reference,) if isinstance(reference, str) else tuple(map(str, reference)),
    )


def _turns(item: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(item.get("turns"), list):
        return tuple(item["turns"])
    for key in ("question", "prompt", "instruction"):
        if isinstance(item.get(key), str):
            more = item.get("input") if key == "instruction" else ""
            return (f"{item[key]}\n{more}" if more else item[key],)
    return ()
