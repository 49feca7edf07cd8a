"""Readers of the record files of ARC, HellaSwag, TruthfulQA, WinoGrande, GSM8K and DROP, as their
authors publish them and as the hub holds them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langraft.core.errors import BadInput
from langraft.evals.suites.question import LETTERS, Question, Subject, of_split
from langraft.evals.suites.tables import Record, field, json_of, records

Convert = Callable[[str, Mapping[str, Any]], "Question | str"]
_GSM_ANSWER = re.compile(r"####\s*(-?[\d.,]+)")
_BRACKETS = re.compile(r"\[.*?\]")


def record_suite(
    files: Mapping[str, bytes],
    pattern: re.Pattern[str],
    split: str,
    shots: str,
    convert: Convert,
) -> list[Subject]:
    """Subjects of record files: the pattern's group `split` says which split a file is, and
    `subject`, where it has one, which subject.

    Args:
        convert: a record to a question, or to the reason why it has none.
    """
    parts: dict[str, dict[str, list[Question]]] = {}
    lost: dict[str, Counter[str]] = {}
    for name, content in sorted(files.items()):
        found = pattern.search(name)
        if found is None:
            continue
        groups = found.groupdict()
        key = (groups.get("subject") or "all").lower()
        part = SPLITS.get(groups["split"].lower(), groups["split"].lower())
        for place, record in _records(name, content):
            question = convert(place, record)
            if isinstance(question, Question):
                parts.setdefault(key, {}).setdefault(part, []).append(question)
            elif part == split:
                lost.setdefault(key, Counter())[question] += 1
    return of_split(parts, split, shots, lost)


SPLITS = {
    **dict.fromkeys(("validation", "val", "valid", "mc_task"), "dev"),
    "train_xl": "train",
}


def _records(name: str, content: bytes) -> Iterator[Record]:
    """Records; DROP's own file maps passage ids to passages with several questions."""
    if name.endswith(".json"):
        tree = json_of(name, content)
        if isinstance(tree, dict):
            for key, group in tree.items():
                for number, pair in enumerate(field(f"{name}: {key}", group, "qa_pairs")):
                    yield f"{name}: {key}[{number}]", {**pair, "passage": group["passage"]}
            return
    yield from records(name, content)


def arc(place: str, record: Mapping[str, Any]) -> Question | str:
    """AI2's `question.stem`/`choices` records, or the hub's flat ones; letters or digits label the
    choices.
    """
    asked = field(place, record, "question")
    if isinstance(asked, dict):
        text = str(field(place, asked, "stem"))
        pairs = [(str(c["label"]), str(c["text"])) for c in field(place, asked, "choices")]
    else:
        text = str(asked)
        choices = field(place, record, "choices")
        pairs = list(zip(map(str, choices["label"]), map(str, choices["text"]), strict=True))
    answer = str(record.get("answerKey") or "")
    names = [label for label, _ in pairs]
    if not answer:
        return "no answer"
    if answer not in names:
        return f"answer {answer!r} is not one of {', '.join(names)}"
    labels = LETTERS[: len(pairs)]
    options = tuple(option for _, option in pairs)
    return Question(text, labels, options, answers=(labels[names.index(answer)],), place=place)


def hellaswag(place: str, record: Mapping[str, Any]) -> Question | str:
    """Contexts cleaned of WikiHow's marks, as the published evaluations do."""
    label = record.get("label")
    if label in (None, ""):
        return "no answer"
    context = f"{field(place, record, 'ctx_a')} {field(place, record, 'ctx_b').capitalize()}"
    endings = tuple(_plain(ending) for ending in field(place, record, "endings"))
    labels = LETTERS[: len(endings)]
    text = _plain(f"{field(place, record, 'activity_label')}: {context}")
    return Question(text, labels, endings, answers=(labels[int(label)],), place=place)


def _plain(text: str) -> str:
    text = text.strip().replace(" [title]", ". ")
    return _BRACKETS.sub("", text).replace("  ", " ")


def truthfulqa(targets: str) -> Convert:
    """A reader of TruthfulQA's multiple choice: `mc1_targets` (one truth) or `mc2_targets`
    (several).
    """

    def convert(place: str, record: Mapping[str, Any]) -> Question | str:
        found = field(place, record, targets)
        if "choices" in found and "labels" in found:
            pairs = list(zip(found["choices"], found["labels"], strict=True))
        else:
            pairs = list(found.items())
        labels = LETTERS[: len(pairs)]
        if len(pairs) > len(LETTERS):
            return f"more than {len(LETTERS)} choices"
        right = "".join(
            letter for letter, (_, true) in zip(labels, pairs, strict=True) if int(true)
        )
        if not right:
            return "no true choice"
        text = str(field(place, record, "question"))
        return Question(text, labels, tuple(c for c, _ in pairs), answers=(right,), place=place)

    return convert


def winogrande(place: str, record: Mapping[str, Any]) -> Question | str:
    """A sentence with a gap `_` and two fillings."""
    answer, text = str(record.get("answer") or ""), str(field(place, record, "sentence"))
    if answer not in ("1", "2"):
        return "no answer"
    if "_" not in text:
        raise BadInput(f"{place}: the sentence has no gap '_'")
    options = (str(field(place, record, "option1")), str(field(place, record, "option2")))
    return Question(text, "AB", options, answers=("AB"[int(answer) - 1],), place=place)


def gsm8k(place: str, record: Mapping[str, Any]) -> Question | str:
    """A word problem; the worked answer ends in `#### number`. `options` holds the working."""
    answer = str(field(place, record, "answer"))
    found = _GSM_ANSWER.search(answer)
    if found is None:
        return "no number after ####"
    number = found[1].replace(",", "").rstrip(".")
    text = str(field(place, record, "question"))
    return Question(text, options=(answer,), targets=(number,), place=place)


def drop(place: str, record: Mapping[str, Any]) -> Question | str:
    """A question on a passage; every annotator's answer is accepted."""
    passage = str(field(place, record, "passage"))
    text = str(field(place, record, "question"))
    if "answers_spans" in record:
        targets = [" ".join(record["answers_spans"]["spans"])]
    else:
        given = [field(place, record, "answer"), *(record.get("validated_answers") or [])]
        targets = [t for t in map(_drop_answer, given) if t]
    if not targets:
        return "no answer"
    return Question(text, targets=tuple(dict.fromkeys(targets)), passage=passage, place=place)


def _drop_answer(answer: Mapping[str, Any]) -> str:
    if answer.get("number") not in (None, ""):
        return str(answer["number"])
    if answer.get("spans"):
        return " ".join(answer["spans"])
    date = answer.get("date") or {}
    return " ".join(str(date[part]) for part in ("day", "month", "year") if date.get(part))
