"""Answers found in written text."""

from __future__ import annotations

import pytest

from langraft.evals.extract import (
    first_letter,
    letter_by_phrase,
    letters_in,
    math_normal,
    number_answer,
    same_number,
    sequence_share,
    share_of_several,
)


@pytest.mark.parametrize(
    ("text", "letter"),
    [("A", "A"), ("Answer: B", "B"), (" C. because", "C"), ("none", ""), ("E is right", "")],
)
def test_the_first_capital_without_a_small_neighbour(text: str, letter: str) -> None:
    assert first_letter(text, "ABCD") == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("我想A不对。所以答案是C。", "C"),
        ("B是正确的", "B"),
        ("选项D正确，A不对", "D"),
        ("答案为A", "A"),
        ("正确答案：B", "B"),
        ("选择答案C", "C"),
        ("The answer is (D).", "D"),
        ("Answers: B", "B"),
        ("B", "B"),
        ("这是红色的", "C"),
        ("不知道", ""),
    ],
)
def test_the_letter_a_text_names(text: str, letter: str) -> None:
    assert letter_by_phrase(text, "ABCD", ["蓝色", "绿色", "红色", "黑色"]) == letter


def test_several_letters_count_by_share_and_a_wrong_one_voids_them() -> None:
    assert letters_in("答案：A、C", "ABCD") == "AC"
    assert letters_in("ABD", "ABCD") == "ABD"
    assert letters_in("Apple B", "ABCD") == "B"
    assert share_of_several("A", "AC") == 0.5
    assert share_of_several("AC", "AC") == 1.0
    assert share_of_several("AB", "AC") == 0.0
    assert share_of_several("", "AC") == 0.0


def test_a_record_of_several_questions_is_compared_part_by_part() -> None:
    answers = ("C", "F", "A", "E", "D")
    assert sequence_share("CFAED", answers, "ABCDEFG") == 1.0
    assert sequence_share("71. C 72. F 73. B", answers, "ABCDEFG") == pytest.approx(0.4)
    assert sequence_share("AC BD", ("AC", "B"), "ABCD") == 0.5


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2+2=<<2+2=4>>4\n#### 1,234", "1234"),
        ("So the answer is 18.", "18"),
        ("3 x 6 = 18 dollars", "18"),
        ("She has 5, then 7", "7"),
        ("#### -3.50", "-3.50"),
        ("nothing", ""),
    ],
)
def test_the_number_a_solution_ends_in(text: str, number: str) -> None:
    assert number_answer(text) == number


def test_numbers_and_formulas_that_mean_the_same() -> None:
    assert same_number("18.0", "18")
    assert not same_number("18", "81")
    assert not same_number("", "18")
    assert math_normal("$\\dfrac{1}{2}$") == math_normal("\\frac12")
    assert math_normal("x = 3.") == math_normal("3")
    assert math_normal("\\boxed{\\left(3,4\\right]}") == "(3,4]"
    assert math_normal("30^\\circ") == "30"
    assert math_normal("1") != math_normal("2")
