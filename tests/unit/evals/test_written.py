"""Scores of written text by hand."""

from __future__ import annotations

import pytest

from langraft.evals.written import (
    characters,
    code_likeness,
    exact_match,
    f1,
    in_language,
    normal,
    rouge_l,
    words,
)


def test_normal_text_is_lower_without_marks_and_articles() -> None:
    assert normal("The  Cat, sat!") == "cat sat"
    assert normal("你好，世界。") == "你好世界"
    assert normal("ＡＢＣ") == "abc"
    assert characters("GPT 是一个模型") == ["gpt", "是", "一", "个", "模", "型"]


def test_exact_match_and_f1() -> None:
    assert exact_match("The cat.", ["a dog", "cat"]) == 1.0
    assert exact_match("the cats", ["cat"]) == 0.0
    # 2 shared of 3 and of 4 words: P 2/3, R 1/2
    assert f1("red big house", ["red house on hill"], words) == pytest.approx(4 / 7)
    # 中 国 shared; 2 of 4 and 2 of 2
    assert f1("中国北京", ["中国"], characters) == pytest.approx(2 / 3)
    assert f1("x", ["y", "x"], words) == 1.0
    assert f1("", ["x"], words) == 0.0


def test_rouge_by_hand() -> None:
    found, target = "police killed the gunman", ["police kill the gunman"]
    split = str.split
    assert rouge_l(found, target, split) == 0.75
    assert rouge_l("gunman the killed police", target, split) == 0.25
    assert rouge_l("", target, split) == 0.0


def test_code_is_compared_by_its_first_line() -> None:
    assert code_likeness("\n# a remark\nreturn x\nreturn y", ["return x"]) == 1.0
    assert code_likeness("abcd", ["bcde"]) == pytest.approx(0.75)
    assert code_likeness("```\n", ["x"]) == 0.0


@pytest.mark.parametrize(
    ("text", "chinese"),
    [("今天天气很好", True), ("Hello 世界", False), ("今天 ok", True), ("an answer", False)],
)
def test_half_the_letters_make_a_language(text: str, chinese: bool) -> None:
    assert in_language(text, ["Han"]) == chinese
