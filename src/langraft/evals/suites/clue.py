"""A reader of FewCLUE: texts to be put into classes, asked as questions of multiple choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from langraft.evals.suites.question import LETTERS, Question, Subject, of_split
from langraft.evals.suites.tables import field, json_lines


class Task(NamedTuple):
    """One task: what is asked of a record's fields, the field that holds the answer, and the option
    that each of its values stands for.
    """

    asked: str
    label: str
    options: Mapping[str, str]


_NEWS = (
    *(("story", "故事"), ("culture", "文化"), ("entertainment", "娱乐"), ("sports", "体育")),
    *(("finance", "财经"), ("house", "房产"), ("car", "汽车"), ("edu", "教育"), ("tech", "科技")),
    *(("military", "军事"), ("travel", "旅游"), ("world", "国际"), ("stock", "股票")),
    *(("agriculture", "农业"), ("game", "游戏")),
)
TASKS = {
    "eprstmt": Task(
        "{sentence}\n这条评论的态度是？", "label", {"Positive": "正面", "Negative": "负面"}
    ),
    "tnews": Task(
        "{sentence}\n这条新闻属于哪一类？",
        "label_desc",
        {f"news_{key}": name for key, name in _NEWS},
    ),
    "bustm": Task(
        "句子一：{sentence1}\n句子二：{sentence2}\n两个句子的意思是否相同？",
        "label",
        {"1": "相同", "0": "不同"},
    ),
    "ocnli": Task(
        "前提：{sentence1}\n假设：{sentence2}\n假设与前提是什么关系？",
        "label",
        {"entailment": "蕴含", "neutral": "无关", "contradiction": "矛盾"},
    ),
    "csl": Task(
        "摘要：{abst}\n关键词：{keyword}\n这些词是否都是这篇摘要的关键词？",
        "label",
        {"1": "是", "0": "不是"},
    ),
    "cluewsc": Task(
        "{text}\n其中的“{span2_text}”指的是否为“{span1_text}”？",
        "label",
        {"true": "是", "false": "不是"},
    ),
}


def fewclue(
    files: Mapping[str, bytes], pattern: re.Pattern[str], split: str, shots: str
) -> list[Subject]:
    """One subject a task; its options are always in the same order.

    Raises:
        BadInput: a record lacks a field.
    """
    parts: dict[str, dict[str, list[Question]]] = {}
    lost: dict[str, Counter[str]] = {}
    for name, content in sorted(files.items()):
        found = pattern.search(name)
        if found is None:
            continue
        key, part = found["subject"], found["split"]
        for place, record in json_lines(name, content):
            question = _question(place, record, TASKS[key])
            if isinstance(question, Question):
                parts.setdefault(key, {}).setdefault(part, []).append(question)
            elif part == split:
                lost.setdefault(key, Counter())[question] += 1
    return of_split(parts, split, shots, lost)


def _question(place: str, record: Mapping[str, Any], task: Task) -> Question | str:
    label = str(record.get(task.label) or "")
    if not label:
        return "no answer"
    values, options = list(task.options), tuple(task.options.values())
    if label not in values:
        return f"answer {label!r} is not one of {', '.join(values)}"
    fields = {**record, **(record.get("target") or {})}
    if isinstance(fields.get("keyword"), list):
        fields["keyword"] = "、".join(fields["keyword"])
    wanted = re.findall(r"\{(\w+)\}", task.asked)
    text = task.asked.format(**{key: field(place, fields, key) for key in wanted})
    labels = LETTERS[: len(options)]
    return Question(text, labels, options, answers=(labels[values.index(label)],), place=place)
