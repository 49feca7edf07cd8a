"""The suites, one row each: a new suite is a new row."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping

from langraft.evals.suites import exams, letters, published, reading
from langraft.evals.suites.question import Subject

Reader = Callable[[Mapping[str, bytes], re.Pattern[str], str, str], list[Subject]]


@dataclasses.dataclass(frozen=True)
class Suite:
    """One benchmark.

    Attributes:
        language: of its questions, `en` or `zh`; for single subjects see `ENGLISH`.
        files: matches a path of the suite, whatever its case; the groups `subject` and `split` say
            what the file is.
        named: matches a folder's name that can only be this suite's, for archives of several.
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


def _records(convert: published.Convert) -> Reader:
    return functools.partial(published.record_suite, convert=convert)


_ONE_CSV = r"(?:^|/)(?P<split>dev|val|test)/(?P<subject>[^/]+?)(?:_(?:dev|val|test))?\.csv$"
_LONG = "|".join(map(re.escape, reading.LONGBENCH))
_RECORDS = r"(?P<split>train|dev|validation|val|test)[^/]*\.(?:jsonl|json|parquet)$"
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

SUITES = {
    "mmlu": Suite(
        "MMLU", "en", letters.exam_csv, files=_ONE_CSV, named=r"(?<!c)mmlu", licence="MIT"
    ),
    "cmmlu": Suite(
        "CMMLU",
        "zh",
        letters.exam_csv,
        files=_ONE_CSV,
        named=r"cmmlu",
        licence="CC BY-NC-SA 4.0",
    ),
    "ceval": Suite(
        "C-Eval",
        "zh",
        letters.exam_csv,
        files=_ONE_CSV,
        named=r"c-?eval",
        split="val",  # the test split comes without answers
        licence="CC BY-NC-SA 4.0",
    ),
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
    "arc": Suite(
        "ARC",
        "en",
        _records(published.arc),
        files=rf"(?P<subject>ARC-Easy|ARC-Challenge)[-/_][^/]*?{_RECORDS}",
        named=r"arc",
        shots_from="train",
        shots=25,
        licence="CC BY-SA 4.0",
    ),
    "hellaswag": Suite(
        "HellaSwag",
        "en",
        _records(published.hellaswag),
        files=rf"(?:^|[/_]){_RECORDS}",
        named=r"hellaswag",
        split="dev",
        shots_from="train",
        shots=10,
        licence="MIT",
    ),
    "truthfulqa-mc1": Suite(
        "TruthfulQA MC1",
        "en",
        _records(published.truthfulqa("mc1_targets")),
        files=r"(?:^|/)(?P<split>mc_task|validation)[^/]*\.(?:jsonl|json|parquet)$",
        named=r"truthful",
        split="dev",
        shots=0,
        licence="Apache-2.0",
    ),
    "truthfulqa-mc2": Suite(
        "TruthfulQA MC2",
        "en",
        _records(published.truthfulqa("mc2_targets")),
        files=r"(?:^|/)(?P<split>mc_task|validation)[^/]*\.(?:jsonl|json|parquet)$",
        named=r"truthful",
        split="dev",
        shots=0,
        licence="Apache-2.0",
    ),
    "winogrande": Suite(
        "WinoGrande",
        "en",
        _records(published.winogrande),
        files=r"(?:^|/)(?P<split>dev|train_xl|train|validation)[^/]*\.(?:jsonl|parquet)$",
        named=r"winogrande",
        split="dev",
        shots_from="train",
        licence="Apache-2.0",
    ),
    "gsm8k": Suite(
        "GSM8K",
        "en",
        _records(published.gsm8k),
        files=rf"(?:^|/){_RECORDS}",
        named=r"gsm8k",
        shots_from="train",
        shots=8,
        licence="MIT",
    ),
    "drop": Suite(
        "DROP",
        "en",
        _records(published.drop),
        files=rf"(?:^|[/_]){_RECORDS}",
        named=r"drop",
        split="dev",
        shots_from="train",
        shots=3,
        licence="CC BY-SA 4.0",
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
    "csv": Suite("your own csv", "en", letters.user_csv, files=r"\.csv$", named=r"$", shots=0),
}
