"""Prompts letter by letter, and what is dropped when they do not fit."""

from __future__ import annotations

import dataclasses

import pytest
from exams import exam

from langraft.core.errors import BadInput
from langraft.evals.prompts import Writer, fit
from langraft.evals.protocols import PROTOCOLS, fitting, protocol_of, wording_of
from langraft.evals.suites import SUITES, Exam, Question, Subject

ASKED = Question("一加一等于？", "ABCD", ("1", "2", "3", "4"), answers=("B",))
SHOT = Question("二加二等于？", "ABCD", ("1", "2", "3", "4"), answers=("D",))
ZH_OPTIONS = "\nA. 1\nB. 2\nC. 3\nD. 4\n答案："
GENERIC = "以下是考试中各个问题的答案。\n\n"


def prompt(protocol: str, suite: str, key: str, shots: int) -> str:
    subject = Subject(key, [ASKED], [SHOT])
    wording = wording_of(protocol, suite, key)
    return Writer(suite, subject, wording, PROTOCOLS[protocol].strip).prompt(ASKED, shots)


@pytest.mark.parametrize(
    ("protocol", "suite", "key", "shots", "expected"),
    [
        (
            *("colossal", "cmmlu", "college_mathematics", 1),
            "以下是关于大学数学的单项选择题，请直接给出正确答案的选项。\n\n"
            f"题目：二加二等于？{ZH_OPTIONS}D\n\n题目：一加一等于？{ZH_OPTIONS}",
        ),
        (
            *("colossal", "cmmlu", "college_mathematics", 0),
            "以下是关于大学数学的单项选择题，请直接给出正确答案的选项。\n\n"
            f"题目：一加一等于？{ZH_OPTIONS}",
        ),
        (
            *("colossal-2023", "cmmlu", "college_mathematics", 1),
            f"{GENERIC}题目：二加二等于？{ZH_OPTIONS}D\n\n题目：一加一等于？{ZH_OPTIONS}",
        ),
        (
            *("colossal", "ceval", "accountant", 1),
            "以下是中国关于注册会计师考试的单项选择题，请选出其中的正确答案。\n\n"
            f"题目：二加二等于？{ZH_OPTIONS}D\n\n题目：一加一等于？{ZH_OPTIONS}",
        ),
        (
            *("chinese-llama", "ceval", "accountant", 1),
            "以下是中国关于accountant考试的单项选择题，请选出其中的正确答案。\n\n"
            f"二加二等于？{ZH_OPTIONS}D\n\n一加一等于？{ZH_OPTIONS}",
        ),
        (*("chinese-llama", "ceval", "accountant", 0), f"一加一等于？{ZH_OPTIONS}"),
        (
            *("lm-eval", "ceval", "accountant", 1),
            "以下是中国关于注册会计师的单项选择题，请选出其中的正确答案。\n\n"
            f"二加二等于？{ZH_OPTIONS} D\n\n一加一等于？{ZH_OPTIONS}",
        ),
    ],
)
def test_chinese_prompts(protocol: str, suite: str, key: str, shots: int, expected: str) -> None:
    assert prompt(protocol, suite, key, shots) == expected


EN_OPTIONS = "\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"


@pytest.mark.parametrize(
    ("protocol", "shots", "expected"),
    [
        (
            *("colossal", 1),
            "The following are multiple choice questions (with answers) about US Foreign Policy."
            f"\n\nQuestion: 二加二等于？{EN_OPTIONS} D\n\nQuestion: 一加一等于？{EN_OPTIONS} ",
        ),
        (
            *("colossal", 0),
            "The following is a single-choice question on US Foreign Policy. Answer the question "
            f"by replying A, B, C or D.\n\nQuestion: 一加一等于？{EN_OPTIONS} ",
        ),
        (
            *("colossal-2023", 1),
            "The following are answers for questions in an exam.\n\n"
            f"Question: 二加二等于？{EN_OPTIONS} D\n\nQuestion: 一加一等于？{EN_OPTIONS} ",
        ),
        (
            *("lm-eval", 1),
            "The following are multiple choice questions (with answers) about us foreign policy."
            f"\n\n二加二等于？{EN_OPTIONS} D\n\n一加一等于？{EN_OPTIONS}",
        ),
    ],
)
def test_english_prompts(protocol: str, shots: int, expected: str) -> None:
    assert prompt(protocol, "mmlu", "us_foreign_policy", shots) == expected


def test_agieval_prompts_print_options_as_the_file_does() -> None:
    asked = Question("Q?", "AB", ("x", "y"), "(A)x (B)y", answers=("A",), passage="P.")
    subject = Subject("lsat-ar", [asked], [asked])
    writer = Writer("agieval", subject, wording_of("colossal", "agieval", "lsat-ar"))
    assert writer.prompt(asked, 1) == (
        "Here are the answers for the problems in the exam.\n\n"
        "Question: P. Q?\nChoose from the following options: (A)x (B)y\nAnswer: A\n\n"
        "P.\n\nQuestion: Q? Choose from the following options: (A)x (B)y\nAnswer: "
    )


def test_gaokao_is_asked_as_it_stands() -> None:
    asked = Question("1. 选？\nA. 甲\nB. 乙", "ABCD", answers=("A",))
    wording = wording_of("colossal", "gaokao", "History_MCQs")
    writer = Writer("gaokao", Subject("History_MCQs", [asked]), wording)
    assert writer.prompt(asked, 0) == "1. 选？\nA. 甲\nB. 乙\n答案："


def test_braces_in_a_question_are_only_text() -> None:
    odd = dataclasses.replace(ASKED, text="{passage} \\frac{1}{2}", options=("{x}", "2", "3", "4"))
    writer = Writer("cmmlu", Subject("arts", [odd]), wording_of("colossal", "cmmlu", "arts"))
    assert "题目：{passage} \\frac{1}{2}\nA. {x}\n" in writer.prompt(odd, 0)


def _characters(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_whole_worked_examples_go_first_the_last_one_before_the_others() -> None:
    asked: Exam = exam(1, shots=3)
    (subject,) = asked.subjects
    writer = Writer("mmlu", subject, wording_of("colossal", "mmlu", subject.key))
    item = subject.questions[0]
    lengths = [len(writer.prompt(item, shots)) for shots in range(4)]
    for shots in range(4):
        found = fit(writer, item, _characters, lengths[shots])
        assert (found.shots, found.cut, len(found.ids)) == (shots, False, lengths[shots])
        assert found.text == writer.prompt(item, shots)
    assert fit(writer, item, _characters, lengths[2] - 1).shots == 1


def test_an_item_that_cannot_fit_loses_its_middle_and_says_so() -> None:
    (subject,) = exam(1).subjects
    writer = Writer("mmlu", subject, wording_of("colossal", "mmlu", subject.key))
    whole = _characters(writer.prompt(subject.questions[0], 0))
    found = fit(writer, subject.questions[0], _characters, 21)
    assert (found.shots, found.cut) == (0, True)
    assert list(found.ids) == whole[:10] + whole[-11:]


def test_protocols_say_what_they_cannot_do() -> None:
    with pytest.raises(BadInput, match="'colosal': not known; there are colossal"):
        protocol_of("colosal")
    with pytest.raises(BadInput, match="chinese-llama' has no wording for mmlu; these have: col"):
        wording_of("chinese-llama", "mmlu", "anatomy")
    assert fitting("hellaswag") == ["lm-eval"]
    assert fitting("gaokao") == ["colossal", "colossal-2023", "generate"]
    for suite in SUITES:
        assert fitting(suite), f"no protocol asks {suite}"
