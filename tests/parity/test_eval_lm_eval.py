"""lm-evaluation-harness's own tasks over a few items, recorded by `golden/lm_eval_answers.py`: the
same log-probabilities from the published files, prompts and worked examples included.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from exams import reader

from langraft.evals.ledger import read_results
from langraft.evals.suite import evaluate
from langraft.evals.suites import load_exam

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
# A suite, its worked examples, and where its published files lie.
FILES = {
    "mmlu_anatomy": ("mmlu", 2, "mmlu/{split}/anatomy_{split}.csv"),
    "cmmlu_anatomy": ("cmmlu", 2, "cmmlu/{split}/anatomy.csv"),
    "ceval-valid_law": ("ceval", 1, "ceval/{split}/law_{split}.csv"),
    "arc_easy": ("arc", 1, "ARC-Easy/ARC-Easy-{split}.jsonl"),
    "hellaswag": ("hellaswag", 1, "hellaswag/{split}.jsonl"),
    "winogrande": ("winogrande", 2, "winogrande/{split}.jsonl"),
    "truthfulqa_mc1": ("truthfulqa-mc1", 0, "truthfulqa/{split}.jsonl"),
    "truthfulqa_mc2": ("truthfulqa-mc2", 0, "truthfulqa/{split}.jsonl"),
}


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            stream.writelines(json.dumps(record) + "\n" for record in records)
            return
        rows = csv.writer(stream)
        columns = ("question", *"ABCD", "answer")
        if "mmlu/" not in path.as_posix() or "cmmlu/" in path.as_posix():
            rows.writerow(["", "Question", *"ABCD", "Answer"])
            rows.writerows([n, *(r[key] for key in columns)] for n, r in enumerate(records))
        else:
            rows.writerows([record[key] for key in columns] for record in records)


@pytest.mark.parametrize("task", FILES)
def test_the_harness_scores_the_same(tmp_path: Path, task: str) -> None:
    items = json.loads((GOLDEN / "lm_eval_items.json").read_text(encoding="utf-8"))[task]
    expected = json.loads((GOLDEN / "lm_eval.json").read_text(encoding="utf-8"))[task]
    suite, shots, place = FILES[task]
    for split, records in items.items():
        write(tmp_path / place.format(split=split), records)
    exam = load_exam(suite, ".", tmp_path, shots=shots)
    evaluate(reader(), exam, "lm-eval", tmp_path / "out")
    found = sorted(read_results(tmp_path / "out"), key=lambda line: line["id"])
    assert len(found) == len(expected) > 1
    for line, answer in zip(found, expected, strict=True):
        assert line["scores"] == pytest.approx(answer["scores"], abs=1e-4)
        assert line["score"] == pytest.approx(answer["acc"], abs=1e-4)
        if "normed" in line and suite != "winogrande" and answer["acc_norm"] is not None:
            assert line["normed"] == answer["acc_norm"]
