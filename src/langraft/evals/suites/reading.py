"""Readers of suites that ask about a text: CMRC 2018 and XQuAD (SQuAD's layout), LongBench."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from langraft.core.errors import BadInput
from langraft.evals.suites.question import Question, Subject, of_split
from langraft.evals.suites.tables import field, json_of, records

PROMPTS = "dataset2prompt.json"
LENGTHS = "dataset2maxlen.json"


class Task(NamedTuple):
    """How one LongBench task is scored (a name of `written.MEASURES`) and how much is written."""

    language: str
    measure: str
    new_tokens: int


LONGBENCH = {
    "narrativeqa": Task("en", "f1", 128),
    "qasper": Task("en", "f1", 128),
    "multifieldqa_en": Task("en", "f1", 64),
    "multifieldqa_zh": Task("zh", "f1-zh", 64),
    "hotpotqa": Task("en", "f1", 32),
    "2wikimqa": Task("en", "f1", 32),
    "musique": Task("en", "f1", 32),
    "dureader": Task("zh", "rouge-zh", 128),
    "gov_report": Task("en", "rouge", 512),
    "qmsum": Task("en", "rouge", 512),
    "multi_news": Task("en", "rouge", 512),
    "vcsum": Task("zh", "rouge-zh", 512),
    "trec": Task("en", "class-line", 64),
    "triviaqa": Task("en", "f1-line", 32),
    "samsum": Task("en", "rouge-line", 128),
    "lsht": Task("zh", "class-line", 64),
    "passage_retrieval_en": Task("en", "paragraph", 32),
    "passage_count": Task("en", "number", 32),
    "passage_retrieval_zh": Task("zh", "paragraph", 32),
    "lcc": Task("en", "code", 64),
    "repobench-p": Task("en", "code", 64),
}


def squad(
    files: Mapping[str, bytes], pattern: re.Pattern[str], split: str, shots: str
) -> list[Subject]:
    """Files of `data[].paragraphs[].qas[]`; the pattern's groups name the split, the subject, or
    both.

    Raises:
        BadInput: a file of another shape.
    """
    parts: dict[str, dict[str, list[Question]]] = {}
    for name, content in sorted(files.items()):
        found = pattern.search(name)
        if found is None:
            continue
        groups = found.groupdict()
        part, key = groups.get("split") or split, groups.get("subject") or "all"
        parts.setdefault(key.lower(), {})[part.lower()] = _squad_questions(name, content)
    return of_split(parts, split, shots, {})


def _squad_questions(name: str, content: bytes) -> list[Question]:
    tree = json_of(name, content)
    if not isinstance(tree, dict):
        raise BadInput(f"{name}: an object with 'data' was expected, not {type(tree).__name__}")
    found: list[Question] = []
    for article in field(name, tree, "data"):
        for paragraph in field(name, article, "paragraphs"):
            passage = str(field(name, paragraph, "context"))
            for asked in field(name, paragraph, "qas"):
                place = f"{name}: {asked.get('id', len(found))}"
                texts = [str(a["text"]) for a in field(place, asked, "answers")]
                text = str(field(place, asked, "question"))
                targets = tuple(dict.fromkeys(texts))
                found.append(Question(text, targets=targets, passage=passage, place=place))
    return found


def longbench(
    files: Mapping[str, bytes], pattern: re.Pattern[str], _split: str = "", _shots: str = ""
) -> list[Subject]:
    """One subject a task file. Prompts and answer lengths are those of the published
    `dataset2prompt.json` and `dataset2maxlen.json` where the data comes with them, else the plain
    text, the question behind it.

    Raises:
        BadInput: a record lacks a field.
    """
    prompts, lengths = (_config(files, name) for name in (PROMPTS, LENGTHS))
    found: list[Subject] = []
    for name, content in sorted(files.items()):
        matched = pattern.search(name)
        if matched is None or not matched["subject"]:
            continue
        key = matched["subject"]
        task = LONGBENCH[key.removesuffix("_e")]
        template = prompts.get(key.removesuffix("_e"), "{context}\n\n{input}\n")
        questions = [_long_question(place, r, template) for place, r in records(name, content)]
        size = int(lengths.get(key.removesuffix("_e"), task.new_tokens))
        found.append(Subject(key, questions, measure=task.measure, new_tokens=size))
    return found


def _config(files: Mapping[str, bytes], wanted: str) -> dict[str, Any]:
    held = [content for name, content in files.items() if name.endswith(wanted)]
    return dict(json.loads(held[0])) if held else {}


def _long_question(place: str, record: Mapping[str, Any], template: str) -> Question:
    """The text is put in last, so that braces inside it stay what they are."""
    asked = str(field(place, record, "input"))
    text = template.replace("{input}", asked).replace(
        "{context}", str(field(place, record, "context"))
    )
    targets = tuple(str(answer) for answer in field(place, record, "answers"))
    classes = tuple(str(name) for name in record.get("all_classes") or ())
    return Question(text, options=classes, targets=targets, place=place)
