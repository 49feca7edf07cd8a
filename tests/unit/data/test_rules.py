# ruff: noqa: E501
"""Every rule, worked by hand."""

from __future__ import annotations

import pytest

from langraft.core.errors import BadInput
from langraft.data.rules import RULES, Reply, best, check_rules, scores, total

WORKED = [
    ("length", Reply("问", "好" * 5), 0.5),
    ("length", Reply("问", "好" * 100), 1.0),
    ("length", Reply("问", "好" * 450), 0.5),
    ("length", Reply("问", "好" * 900), 0.0),
    ("repetition", Reply("问", "abcdefgh"), 1.0),
    ("repetition", Reply("问", "aaaaaaaa"), 0.2),
    ("repetition", Reply("问", "ab"), 1.0),
    ("same-language", Reply("什么是三原色？", "三原色是红、蓝、黄，这些颜色不能由别的颜色混合。"), 1.0),
    ("same-language", Reply("什么是三原色？", "The primary colours are red, blue and yellow."), 0.0),
    ("same-language", Reply("Which are they?", "三原色是红、蓝、黄，这些颜色不能由别的颜色混合。"), 0.0),
    ("same-language", Reply("1 + 1 = ?", "等于二，这是最简单的加法。"), 1.0),
    ("ended", Reply("问", "好", True), 1.0),
    ("ended", Reply("问", "好", False), 0.0),
    ("ended", Reply("问", " ", True), 0.0),
    ("no-refusal", Reply("问", "作为一个人工智能语言模型，我"), 0.0),
    ("no-refusal", Reply("问", "可以。"), 1.0),
    ("json", Reply("问", '{"a": [1]}'), 1.0),
    ("json", Reply("问", '```json\n{"a": 1}\n```'), 1.0),
    ("json", Reply("问", "{a}"), 0.0),
    ("whole-sentence", Reply("问", "好的。 "), 1.0),
    ("whole-sentence", Reply("问", "然后我们"), 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reply", "wanted"), WORKED)
def test_rules(name: str, reply: Reply, wanted: float) -> None:
    assert RULES[name](reply) == pytest.approx(wanted)


def test_every_rule_is_worked() -> None:
    assert {name for name, _, _ in WORKED} == set(RULES)


def test_the_best_of_several() -> None:
    replies = [
        Reply("问", "好好好好好好好好好好"),
        Reply("问", "这是一个完整的句子。"),
        Reply("问", ""),
    ]
    rules = {"repetition": 1.0, "whole-sentence": 0.5}
    assert scores(replies[1], rules) == {"repetition": 1.0, "whole-sentence": 1.0}
    assert total(replies[1], rules) == 1.5
    assert best(replies, rules) == 1


def test_unknown_rules() -> None:
    with pytest.raises(BadInput, match=r"rule 'polite': known are length, "):
        check_rules({"polite": 1.0})
    with pytest.raises(BadInput, match="weight nan is not"):
        check_rules({"length": float("nan")})
