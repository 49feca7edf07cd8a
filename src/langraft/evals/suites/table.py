"""The suites, one row each: a new suite is a new row."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from langraft.evals.suites import clue, exams, letters, published, reading
from langraft.evals.suites.question import Subject

Reader = Callable[[Mapping[str, bytes], re.Pattern[str], str, str], list[Subject]]


@dataclasses.dataclass(frozen=True)
class Suite:
    """One benchmark.

    Attributes:
        language: of its questions, `en` or `zh`; for single subjects see `ENGLISH`.
        files: matches a path of the suite, whatever its case; the groups `subject` and `split` say
            what the file is.
        named: matches a folder's name that can only be this suite's, for archives of several; `ANY`
            for files that may lie anywhere.
        split, shots_from: the splits that are scored and that worked examples come from.
        shots: worked examples shown, unless asked otherwise.
        licence: of the published data; langraft ships none of it.
        measure: what its main score is called.
    """

    title: str
    language: str
    reader: Reader
    files: str
    named: str
    split: str = "test"
    shots_from: str = "dev"
    shots: int = 5
    licence: str = ""
    measure: str = "accuracy"


ANY = r"$"
_DROP = r"(?:^|[/_:-])drop(?:$|[/_.-])"  # no other word that begins so
# One file a subject and split: the authors' csv, or the hub's parquet, whose folder `all` holds
# every subject again.
_EXAM = (
    r"(?:^|/)(?:(?P<split>dev|val|test)/(?P<subject>[^/]+?)(?:_(?:dev|val|test))?\.csv"
    r"|(?P<hub_subject>(?!all/)[^/]+)/(?:[^/]*-)?(?P<hub_split>dev|validation|val|test)"
    r"(?:-\d+-of-\d+|/\d+)?\.parquet)$"
)
_LONG = "|".join(map(re.escape, reading.LONGBENCH))
_FILE = r"[^/]*\.(?:jsonl|json|parquet)$"
_RECORDS = rf"(?P<split>train|dev|validation|val|test){_FILE}"
AGIEVAL = (
    *("aqua-rat", "gaokao-biology", "gaokao-chemistry", "gaokao-chinese", "gaokao-english"),
    *("gaokao-geography", "gaokao-history", "gaokao-mathcloze", "gaokao-mathqa"),
    *("gaokao-physics", "jec-qa-ca", "jec-qa-kd", "logiqa-en", "logiqa-zh", "lsat-ar"),
    *("lsat-lr", "lsat-rc", "math", "sat-en", "sat-en-without-passage", "sat-math"),
)
# Subjects that are asked in English in suites whose row says Chinese.
ENGLISH = {
    *("aqua-rat", "gaokao-english", "logiqa-en", "lsat-ar", "lsat-lr", "lsat-rc", "math"),
    *("sat-en", "sat-en-without-passage", "sat-math"),
    *(name for name, task in reading.LONGBENCH.items() if task.language == "en"),
    *(f"{name}_e" for name, task in reading.LONGBENCH.items() if task.language == "en"),
    "en",
    *("English_MCQs", "English_Fill_in_Blanks", "English_Reading_Comp", "English_Cloze_Test"),
}


def _own(title: str, language: str) -> Suite:
    """A user's own questions, asked in a language."""
    return Suite(title, language, letters.user_csv, files=r"\.csv$", named=ANY, shots=0)


def _exam(title: str, language: str, named: str, licence: str, split: str = "test") -> Suite:
    """A folder of csv or parquet files, one a subject and split."""
    reader = letters.exam_csv
    return Suite(title, language, reader, _EXAM, named, split=split, licence=licence)


def _records(
    title: str, convert: published.Convert, files: str, named: str, licence: str, **other: Any
) -> Suite:
    """English records whose worked examples come from the training split."""
    reader = functools.partial(published.record_suite, convert=convert)
    other = {"split": "dev", "shots_from": "train"} | other
    return Suite(title, "en", reader, files, named, licence=licence, **other)


def _truthful(which: int) -> Suite:
    """TruthfulQA's multiple choice with one (1) or several (2) true answers."""
    convert = published.truthfulqa(f"mc{which}_targets")
    files = rf"(?:^|/)(?P<split>mc_task|validation){_FILE}"
    return _records(f"TruthfulQA MC{which}", convert, files, r"truthful", "Apache-2.0", shots=0)


SUITES = {
    "mmlu": _exam("MMLU", "en", r"(?<!c)mmlu", "MIT"),
    "cmmlu": _exam("CMMLU", "zh", r"cmmlu", "CC BY-NC-SA 4.0"),
    # The test split comes without answers.
    "ceval": _exam("C-Eval", "zh", r"c-?eval", "CC BY-NC-SA 4.0", split="val"),
    "agieval": Suite(
        "AGIEval v1",
        "zh",
        exams.agieval,
        files=rf"(?:^|/)(?:(?P<subject>{'|'.join(AGIEVAL)})\.jsonl|{re.escape(exams.PROMPTS)})$",
        named=r"agieval",
        licence="MIT",
    ),
    "gaokao": Suite(
        "GAOKAO-Bench",
        "zh",
        exams.gaokao,
        files=r"(?:^|/)(?:Objective_Questions|Multiple-choice_Questions)/"
        r"\d{4}-\d{4}_(?P<subject>[^/]+)\.json$",
        named=r"gaokao",
        shots=0,
        licence="Apache-2.0",
    ),
    "c3": Suite(
        "C3",
        "zh",
        exams.c3,
        files=r"(?:^|/)c3-(?P<subject>[dm])-(?P<split>train|dev|test)\.json$",
        named=r"c3",
        shots_from="train",
        shots=0,
        licence="research",
    ),
    "fewclue": Suite(
        "FewCLUE",
        "zh",
        clue.fewclue,
        files=rf"(?:^|/)(?P<subject>{'|'.join(clue.TASKS)})/(?P<split>test_public|train_0)\.json$",
        named=r"fewclue",
        split="test_public",
        shots_from="train_0",
        shots=0,
        licence="research",
    ),
    "arc": _records(
        "ARC",
        published.arc,
        rf"(?P<subject>ARC-Easy|ARC-Challenge)[-/_][^/]*?{_RECORDS}",
        *(r"arc", "CC BY-SA 4.0"),
        split="test",
        shots=25,
    ),
    "hellaswag": _records(
        *("HellaSwag", published.hellaswag, rf"(?:^|[/_]){_RECORDS}", r"hellaswag", "MIT"),
        shots=10,
    ),
    "truthfulqa-mc1": _truthful(1),
    "truthfulqa-mc2": _truthful(2),
    "winogrande": _records(
        "WinoGrande",
        published.winogrande,
        r"(?:^|/)(?P<split>dev|train_xl|train|validation)[^/]*\.(?:jsonl|parquet)$",
        *(r"winogrande", "Apache-2.0"),
    ),
    "gsm8k": _records(
        *("GSM8K", published.gsm8k, rf"(?:^|/){_RECORDS}", r"gsm8k", "MIT"), split="test", shots=8
    ),
    "drop": _records(
        *("DROP", published.drop, rf"(?:^|[/_]){_RECORDS}", _DROP, "CC BY-SA 4.0"),
        shots=3,
        measure="exact match",
    ),
    "cmrc2018": Suite(
        "CMRC 2018",
        "zh",
        reading.squad,
        files=r"(?:^|/)cmrc2018_(?P<split>train|trial|dev|test)\.json$",
        named=r"cmrc",
        split="dev",
        shots_from="trial",
        shots=0,
        licence="CC BY-SA 4.0",
        measure="exact match",
    ),
    "xquad": Suite(
        "XQuAD",
        "zh",
        reading.squad,
        files=r"(?:^|/)xquad\.(?P<subject>en|zh)\.json$",
        named=r"xquad",
        shots=0,
        licence="CC BY-SA 4.0",
        measure="exact match",
    ),
    "longbench": Suite(
        "LongBench",
        "zh",
        reading.longbench,
        files=rf"(?:^|/)(?:(?P<subject>(?:{_LONG})(?:_e)?)\.jsonl"
        rf"|{re.escape(reading.PROMPTS)}|{re.escape(reading.LENGTHS)})$",
        named=r"longbench",
        shots=0,
        licence="MIT",
        measure="score",
    ),
    "csv": _own("your own csv", "en"),
    "csv-zh": _own("your own csv in Chinese", "zh"),
}
