"""Five-shot MMLU and CMMLU against lm-evaluation-harness: the same model, files and prompts; the
log-probabilities of every question side by side, and the time of each.

Needs lm-eval (`make bench-setup`) in the Python that runs it:
`python benchmarks/eval_lm_eval.py --model FOLDER --data FOLDER_OR_ARCHIVE --suite mmlu`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import Exam, load_exam, name_of

HEADS = {
    "mmlu": "The following are multiple choice questions (with answers) about {}.\n\n",
    "cmmlu": "以下是关于{}的单项选择题，请直接给出正确答案的选项。\n\n",
}
CUES = {"mmlu": "Answer:", "cmmlu": "答案："}
TEXT = "{{question.strip()}}\nA. {{A}}\nB. {{B}}\nC. {{C}}\nD. {{D}}\n"


def slice_of(suite: str, data: str, limit: int, subjects: int) -> Exam:
    """The first `limit` questions of `subjects` subjects, spread evenly over the alphabet."""
    names = [subject.key for subject in load_exam(suite, data, Path()).subjects]
    step = len(names) / subjects
    chosen = [names[int(step * n)] for n in range(subjects)]
    return load_exam(suite, data, Path(), shots=5, subjects=chosen, limit=limit)


def tasks_of(exam: Exam, folder: Path) -> list[dict[str, Any]]:
    """The slice as lm-eval tasks over local files, worded as its own MMLU and CMMLU tasks are."""
    tasks = []
    for subject in exam.subjects:
        files = {}
        for split, questions in (("test", subject.questions), ("dev", subject.shots)):
            files[split] = str(folder / f"{subject.key}-{split}.jsonl")
            lines = []
            for q in questions:
                options = dict(zip("ABCD", q.options, strict=True))
                lines.append({"question": q.text, **options, "answer": q.answers[0]})
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            Path(files[split]).write_text(text, encoding="utf-8")
        tasks.append(
            {
                "task": f"{exam.suite}-{subject.key}",
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": files},
                "test_split": "test",
                "fewshot_split": "dev",
                "num_fewshot": 5,
                "fewshot_config": {"sampler": "first_n"},
                "description": HEADS[exam.suite].format(name_of(exam.suite, subject.key)),
                "output_type": "multiple_choice",
                "doc_to_text": TEXT + CUES[exam.suite],
                "doc_to_choice": ["A", "B", "C", "D"],
                "doc_to_target": "{{['A', 'B', 'C', 'D'].index(answer)}}",
                "metric_list": [{"metric": "acc", "aggregation": "mean"}],
            }
        )
    return tasks


def referee(
    model: Any, tokenizer: Any, exam: Exam, batch: int, window: int
) -> tuple[dict[str, list[float]], float]:
    """Log-probabilities of A to D by question, and the seconds that lm-eval's model spends on them:
    its making of data sets is not counted, nor its summing up.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    class Timed(HFLM):
        seconds = 0.0

        def loglikelihood(self, *args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            found = super().loglikelihood(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            return found

    lm = Timed(
        pretrained=model, tokenizer=tokenizer, batch_size=batch, device="cpu", max_length=window
    )
    with tempfile.TemporaryDirectory() as folder:
        tasks = tasks_of(exam, Path(folder))
        found = lm_eval.simple_evaluate(lm, tasks=tasks, log_samples=True, bootstrap_iters=0)
    return {
        f"{task.removeprefix(exam.suite + '-')}/{sample['doc_id']}": [
            float(answer[0]) for answer in sample["filtered_resps"]
        ]
        for task, samples in found["samples"].items()
        for sample in samples
    }, lm.seconds


def ours(reader: Reader, exam: Exam) -> tuple[dict[str, list[float]], float, dict[str, Any]]:
    """The same from langraft."""
    from langraft.evals.ledger import read_results

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        summary = evaluate(reader, exam, "lm-eval", Path(folder))
        seconds = time.perf_counter() - start
        scores = {r["id"]: r["scores"] for r in read_results(Path(folder))}
    return scores, seconds, summary.as_json()


def furthest(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """The largest difference of any log-probability."""
    assert one.keys() == other.keys(), sorted(one.keys() ^ other.keys())[:3]
    return max(abs(a - b) for key in one for a, b in zip(one[key], other[key], strict=True))


def right(scores: dict[str, list[float]], exam: Exam) -> float:
    """The share of questions whose largest score is the right letter's."""
    answers = {
        f"{s.key}/{n}": q.answers[0] for s in exam.subjects for n, q in enumerate(s.questions)
    }
    return sum("ABCD"[v.index(max(v))] == answers[k] for k, v in scores.items()) / len(scores)


def main() -> None:
    """Print both, their ratio and their differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--suite", choices=sorted(HEADS), default="mmlu")
    parser.add_argument("--limit", type=int, default=10, help="questions a subject")
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8, help="lm-eval's batch size")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--plain", action="store_true", help="also score without shared prefixes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    exam = slice_of(arguments.suite, arguments.data, arguments.limit, arguments.subjects)
    model, tokenizer = load_model(arguments.model), load_tokenizer(arguments.model)
    reader = Reader(model, tokenizer, arguments.window, "benchmark")
    scores, seconds, summary = ours(reader, exam)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result: dict[str, Any] = {
        "suite": arguments.suite,
        "questions": len(scores),
        "threads": torch.get_num_threads(),
        "langraft seconds": round(seconds, 1),
        "langraft accuracy": right(scores, exam),
        "langraft interval": [summary["measures"]["accuracy"]["micro"][k] for k in ("low", "high")],
        "langraft peak MiB": round(memory),
    }
    if arguments.plain:
        import dataclasses

        plain, plain_seconds, _ = ours(dataclasses.replace(reader, share=False), exam)
        result["plain seconds"] = round(plain_seconds, 1)
        result["shared against plain, largest difference"] = furthest(scores, plain)
    theirs, their_seconds = referee(model, tokenizer, exam, arguments.batch, arguments.window)
    result |= {
        "lm-eval seconds": round(their_seconds, 1),
        "lm-eval accuracy": right(theirs, exam),
        "largest difference of a log-probability": furthest(scores, theirs),
        "times faster": round(their_seconds / seconds, 2),
    }
    for key, value in result.items():
        print(f"{key:42} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
