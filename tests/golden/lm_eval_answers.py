"""What lm-evaluation-harness says of `lm_eval_items.json` with a tiny model, task definitions and
all: rewrites `lm_eval.json`, which a parity test reads.

Needs lm-eval: `PYTHONPATH=src:tests python tests/golden/lm_eval_answers.py`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import lm_eval
from exams import tokenizer
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from random_llama import random_llama

HERE = Path(__file__).parent
# Where the harness defines each task, and the worked examples shown.
TASKS = {
    "mmlu_anatomy": ("mmlu/default", 2),
    "cmmlu_anatomy": ("cmmlu", 2),
    "ceval-valid_law": ("ceval", 1),
    "arc_easy": ("arc", 1),
    "hellaswag": ("hellaswag", 1),
    "winogrande": ("winogrande/default.yaml", 2),
    "truthfulqa_mc1": ("truthfulqa", 0),
    "truthfulqa_mc2": ("truthfulqa", 0),
}


def task(name: str, splits: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, Any]:
    """The harness's own task over local files."""
    files = {}
    for split, records in splits.items():
        files[split] = str(folder / f"{name}-{split}.jsonl")
        rows = [hub_record(name, record) for record in records]
        Path(files[split]).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    place, shots = TASKS[name]
    path = Path(lm_eval.__file__).parent / "tasks" / place
    defined = load_yaml(path if path.suffix else path / f"{name}.yaml")
    defined.pop("tag", None)
    return {
        **defined,
        "task": f"here_{name}",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        "num_fewshot": shots,
        "fewshot_config": {"sampler": "first_n"},
        **({"fewshot_split": "train", "training_split": None} if "train" in splits else {}),
        **({"test_split": None} if "validation" in splits else {}),
        **({"validation_split": None} if "test" in splits else {}),
    }


def hub_record(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """MMLU and CMMLU have other columns on the hub than in their files."""
    if name.startswith("mmlu"):
        choices = [record[letter] for letter in "ABCD"]
        answer = "ABCD".index(record["answer"])
        return {"question": record["question"], "choices": choices, "answer": answer}
    if name.startswith("cmmlu"):
        return {**record, "Question": record["question"], "Answer": record["answer"]}
    return record


def main() -> None:
    """Write the log-probabilities and scores of every item."""
    items = json.loads((HERE / "lm_eval_items.json").read_text(encoding="utf-8"))
    model = random_llama(len(tokenizer()))
    lm = HFLM(pretrained=model, tokenizer=tokenizer(), batch_size=1, device="cpu", max_length=512)
    found: dict[str, Any] = {"lm-eval": lm_eval.__version__}
    with tempfile.TemporaryDirectory() as folder:
        tasks = [task(name, splits, Path(folder)) for name, splits in items.items()]
        result = lm_eval.simple_evaluate(lm, tasks=tasks, log_samples=True, bootstrap_iters=0)
    for name, samples in result["samples"].items():
        found[name.removeprefix("here_")] = [
            {
                "scores": [round(float(answer[0]), 6) for answer in sample["filtered_resps"]],
                "acc": float(sample["acc"]),
                "acc_norm": sample.get("acc_norm"),
            }
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    (HERE / "lm_eval.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
