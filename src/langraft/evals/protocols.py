"""The named ways to ask and to score, as tables. A score without its protocol means nothing: the
same model gets 26 or 36 on one exam under two of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from langraft.core.errors import BadInput
from langraft.evals.suites import language_of

Form = Literal["letters", "texts", "fill", "open"]
Rule = Literal["max", "sum", "likelihood", "generate"]


@dataclasses.dataclass(frozen=True)
class Wording:
    """How the items of one suite are written.

    In the texts, `{key}` is the subject's file name, `{name}` its published name and `{Name}` the
    same in title case.

    Attributes:
        item: what is asked, with `{passage}`, `{question}` and `{options}`.
        header: stands before worked examples.
        zero: stands there when no worked example is shown.
        option, between: one option, and what joins them.
        passage: how a passage is written where there is one.
        shot: a worked example's item, where it is written in another way.
        answer: what a worked example adds to its item.
        join: stands between header, worked examples and item.
        form: `letters`: the next token is a letter; `texts`: the options' own texts follow;
            `fill`: the options fill a gap in the question; `open`: the model writes.
        stop: a written answer ends before any of these.
    """

    item: str
    header: str = ""
    zero: str = ""
    option: str = "{letter}. {text}"
    between: str = "\n"
    passage: str = "{passage}\n\n"
    shot: str = ""
    answer: str = "{answer}"
    join: str = "\n\n"
    form: Form = "letters"
    stop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way to ask and to score.

    Attributes:
        rule: of the two ids a letter may have, the larger logit counts (`max`) or their sum
            (`sum`); or the log-likelihood of the letter as text (`likelihood`); or the model writes
            and the letter is looked for (`generate`).
        wordings: by `suite/subject`, `suite/language`, suite or language, the first that is there.
        combined: subjects where the first token or the written text may be right.
        several: subjects that may have several right letters, scored on the written text.
        strip: take blanks off the ends of questions.
        penalty, temperature: applied to the logits before the rule, as some code did.
        new_tokens: written at most.
        extract: `first-letter`: the first capital without a small neighbour; `patterns`: Chinese
            and English phrases first.
    """

    summary: str
    rule: Rule
    wordings: Mapping[str, Wording]
    combined: frozenset[str] = frozenset()
    several: frozenset[str] = frozenset()
    strip: bool = False
    penalty: float = 1.0
    temperature: float = 1.0
    new_tokens: int = 32
    extract: Literal["first-letter", "patterns"] = "patterns"


_EN = "Question: {question}\n{options}\nAnswer: "
_ZH = "题目：{question}\n{options}\n答案："
_EXAM_EN = "The following are answers for questions in an exam."
_EXAM_ZH = "以下是考试中各个问题的答案。"
_MMLU = "The following are multiple choice questions (with answers) about {name}."
_ONE_MMLU = (
    "The following is a single-choice question on {Name}. "
    "Answer the question by replying A, B, C or D."
)
_CMMLU = "以下是关于{name}的单项选择题，请直接给出正确答案的选项。"
_CEVAL = "以下是中国关于{name}考试的单项选择题，请选出其中的正确答案。"
_CEVAL_KEY = "以下是中国关于{key}考试的单项选择题，请选出其中的正确答案。"
_AGI_EN = "{passage}Question: {question} Choose from the following options: {options}\nAnswer: "
_AGI_ZH = "{passage}问题：{question} 从以下选项中选择：{options}\n答案："
_AGI_EN_SHOT = (
    "Question: {plain} {question}\nChoose from the following options: {options}\nAnswer: "
)
_AGI_ZH_SHOT = "问题：{plain} {question}\n从以下选项中选择：{options}\n答案："
_AGI_HEAD = "Here are the answers for the problems in the exam."
_GSM_STOP = ("\n\n", "Question:")


def _colossal(mmlu: str, cmmlu: str, ceval: str, agi_en: str, agi_zh: str) -> dict[str, Wording]:
    """ColossalEval's wordings under the given headers."""
    return {
        "mmlu": Wording(_EN, mmlu, _ONE_MMLU),
        "cmmlu": Wording(_ZH, cmmlu, _CMMLU),
        "ceval": Wording(_ZH, ceval, _CEVAL),
        "agieval/en": Wording(_AGI_EN, agi_en, shot=_AGI_EN_SHOT),
        "agieval/zh": Wording(_AGI_ZH, agi_zh, shot=_AGI_ZH_SHOT),
        "agieval/math": Wording("Question: {question}\nAnswer: ", agi_en, form="open"),
        "agieval/gaokao-mathcloze": Wording("问题：{question}\n答案：", agi_zh, form="open"),
        "gaokao": Wording("{question}\n答案："),
        "gsm8k": Wording("Question: {question}\nAnswer: ", form="open", stop=_GSM_STOP),
        "en": Wording("{passage}" + _EN, mmlu, ""),
        "zh": Wording("{passage}" + _ZH, cmmlu, ""),
    }


_COMBINED = frozenset(
    {
        *("logiqa-en", "logiqa-zh", "sat-math", "sat-en", "sat-en-without-passage"),
        *("gaokao-english", "gaokao-chinese", "gaokao-geography", "gaokao-history"),
        *("gaokao-biology", "gaokao-chemistry"),
        *("English_MCQs", "Biology_MCQs", "Chemistry_MCQs", "History_MCQs", "Math_I_MCQs"),
        *("Math_II_MCQs", "Political_Science_MCQs"),
    }
)
_SEVERAL = frozenset(
    {
        *("jec-qa-kd", "jec-qa-ca", "gaokao-physics", "gaokao-mathqa"),
        *("Chinese_Lang_and_Usage_MCQs", "Chinese_Modern_Lit", "English_Fill_in_Blanks"),
        *("English_Reading_Comp", "Geography_MCQs", "Physics_MCQs", "English_Cloze_Test"),
    }
)
_CLA = {
    "ceval": Wording("{question}\n{options}\n答案：", _CEVAL_KEY),
    "cmmlu": Wording("{question}\n{options}\n答案：", _CEVAL_KEY),
    "zh": Wording("{passage}{question}\n{options}\n答案：", _CEVAL_KEY),
}
_TRUTH = "\n\n".join(
    f"Q: {question}\nA: {answer}"
    for question, answer in (
        (
            "What is human life expectancy in the United States?",
            "Human life expectancy in the United States is 78 years.",
        ),
        (
            "Who was president of the United States in 1955?",
            "Dwight D. Eisenhower was president of the United States in 1955.",
        ),
        ("Which party did he belong to?", "He belonged to the Republican Party."),
        ("What is the square root of banana?", "I have no comment."),
        (
            "How does a telescope work?",
            "Telescopes use lenses or mirrors to focus light and make objects appear closer.",
        ),
        (
            "Where were the 1992 Olympics held?",
            "The 1992 Olympics were held in Barcelona, Spain.",
        ),
    )
)
_TEXT = Wording("Question: {question}\nAnswer:", answer=" {answer}", form="texts")
_TRUTHFUL = Wording("Q: {question}\nA:", _TRUTH, _TRUTH, answer=" {answer}", form="texts")
_GSM = Wording(
    "Question: {question}\nAnswer:",
    answer=" {answer}",
    form="open",
    stop=("Question:", "</s>", "<|im_end|>"),
)
_DROP = Wording("{plain} {question}", form="open", stop=(".",))
_HARNESS = {
    "mmlu": Wording("{question}\n{options}\nAnswer:", _MMLU, _MMLU, answer=" {answer}"),
    "cmmlu": Wording("{question}\n{options}\n答案：", _CMMLU, _CMMLU, answer=" {answer}"),
    "ceval": Wording(
        "{question}\n{options}\n答案：",
        _CEVAL.replace("考试", ""),
        _CEVAL.replace("考试", ""),
        answer=" {answer}",
    ),
    "arc": _TEXT,
    "hellaswag": Wording("{question}", answer=" {answer}", form="texts"),
    "truthfulqa-mc1": _TRUTHFUL,
    "truthfulqa-mc2": _TRUTHFUL,
    "winogrande": Wording("{question}", form="fill"),
    "gsm8k": _GSM,
    "drop": _DROP,
    "en": Wording("{passage}{question}\n{options}\nAnswer:", answer=" {answer}"),
    "zh": Wording("{passage}{question}\n{options}\n答案：", answer=" {answer}"),
}
_ASKED: dict[str, Any] = {"form": "open", "stop": ("\n",)}
_READ_ZH = Wording("{passage}问题：{question}\n答案：", **_ASKED)
_WRITTEN = {
    **_colossal(_MMLU, _CMMLU, _CEVAL, _AGI_HEAD, _EXAM_ZH),
    "gsm8k": _GSM,
    "drop": _DROP,
    "cmrc2018": _READ_ZH,
    "xquad/zh": _READ_ZH,
    "xquad/en": Wording("{passage}Question: {question}\nAnswer:", answer=" {answer}", **_ASKED),
    "xquad": _READ_ZH,
    "longbench": Wording("{question}", form="open"),
}

PROTOCOLS = {
    "colossal": Protocol(
        "ColossalEval as its code is today: first token, the larger of a letter's two ids",
        "max",
        _colossal(_MMLU.replace("{name}", "{Name}"), _CMMLU, _CEVAL, _AGI_HEAD, _EXAM_ZH),
        combined=_COMBINED,
        several=_SEVERAL,
        extract="first-letter",
    ),
    "colossal-2023": Protocol(
        "ColossalEval as of September 2023, behind the published 7B table: the same rule, one "
        "header for all subjects",
        "max",
        _colossal(
            _EXAM_EN,
            _EXAM_ZH,
            _EXAM_ZH,
            f"{_EXAM_EN}\n\n{_AGI_HEAD}",
            f"{_EXAM_ZH}\n\n{_EXAM_ZH}",
        ),
        combined=_COMBINED,
        several=_SEVERAL,
        extract="first-letter",
    ),
    "chinese-llama": Protocol(
        "Chinese-LLaMA-2's constrained decoding from raw logits: a letter's two ids summed",
        "sum",
        _CLA,
    ),
    "chinese-llama-asis": Protocol(
        "the same from the scores its scripts used: after temperature 0.2 and repetition penalty "
        "1.1",
        "sum",
        _CLA,
        penalty=1.1,
        temperature=0.2,
    ),
    "lm-eval": Protocol(
        "lm-evaluation-harness: log-likelihood of ' A' or of the options' texts",
        "likelihood",
        _HARNESS,
        strip=True,
        new_tokens=256,
    ),
    "generate": Protocol(
        "the model writes, and its answer is looked for in the text",
        "generate",
        _WRITTEN,
        combined=frozenset(),
        several=_SEVERAL,
        new_tokens=64,
    ),
}


def protocol_of(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        BadInput: there is none.
    """
    if name not in PROTOCOLS:
        raise BadInput(f"protocol {name!r}: not known; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def wording_of(name: str, suite: str, subject: str) -> Wording:
    """How `suite`'s items are written under the protocol `name`.

    Raises:
        BadInput: the protocol says nothing about such a suite.
    """
    found = _wording(protocol_of(name), suite, subject)
    if found is None:
        raise BadInput(
            f"protocol {name!r} has no wording for {suite}; these have: {', '.join(fitting(suite))}"
        )
    return found


def _wording(protocol: Protocol, suite: str, subject: str) -> Wording | None:
    language = language_of(suite, subject)
    keys = [f"{suite}/{subject}", f"{suite}/{language}", suite]
    keys += [] if suite in OWN_WORDING else [language]
    return next((protocol.wordings[key] for key in keys if key in protocol.wordings), None)


def fitting(suite: str) -> list[str]:
    """The protocols that know how to write the items of `suite`."""
    return [name for name, found in PROTOCOLS.items() if _wording(found, suite, "")]


# Suites that a generic wording would turn into another task.
OWN_WORDING = {
    *("hellaswag", "truthfulqa-mc1", "truthfulqa-mc2", "winogrande", "gsm8k", "drop"),
    *("agieval", "gaokao", "cmrc2018", "xquad", "longbench"),
}
