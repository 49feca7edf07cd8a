"""Five-shot MMLU and CMMLU against lm-evaluation-harness: the same model, files and prompts; the
log-probabilities of every question side by side, and the time of each.

The harness reads every prompt whole, so its time is proportional to the tokens of its prompts,
while the worked examples of a subject cost langraft one reading however many questions follow. With
`--referee` the harness is timed on the first so many questions of each subject only, and its
tokens per second stand for the rest; both figures are printed. The harness's search for a batch
size (`--batch auto`) is left out of its time and printed by itself.

Needs lm-eval (`make bench-setup`) in the Python that runs it:
`python benchmarks/eval_lm_eval.py --model FOLDER --data FOLDER_OR_ARCHIVE --suite mmlu`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.evals.memo import Memo
from langraft.evals.plan import make_plan
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import Exam, load_exam, name_of

HEADS = {
    "mmlu": "The following are multiple choice questions (with answers) about {}.\n\n",
    "cmmlu": "以下是关于{}的单项选择题，请直接给出正确答案的选项。\n\n",
}
CUES = {"mmlu": "Answer:", "cmmlu": "答案："}
TEXT = "{{question.strip()}}\nA. {{A}}\nB. {{B}}\nC. {{C}}\nD. {{D}}\n"


class Spent(NamedTuple):
    """Seconds on the clock, and of all cores: the latter hold on a machine that others use too;
    `search` are seconds on the clock of looking for a batch size, which the others do not hold.
    """

    clock: float
    cores: float
    search: float = 0.0

    @classmethod
    def now(cls) -> Spent:
        """Since some fixed moment."""
        return cls(time.perf_counter(), time.process_time())

    @classmethod
    def since(cls, start: Spent) -> Spent:
        """Since `start`."""
        now = cls.now()
        return cls(now.clock - start.clock, now.cores - start.cores)


def slice_of(suite: str, data: str, limit: int | None, subjects: int) -> Exam:
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
    model: Any, tokenizer: Any, exam: Exam, batch: int | str, window: int
) -> tuple[dict[str, list[float]], Spent]:
    """Log-probabilities of A to D by question, and the time that lm-eval's model spends on them:
    its making of data sets is not counted, nor its summing up.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    class Timed(HFLM):
        spent = searched = Spent(0.0, 0.0)

        def loglikelihood(self, *args: Any, **kwargs: Any) -> Any:
            start = Spent.now()
            found = super().loglikelihood(*args, **kwargs)
            whole, search = Spent.since(start), self.searched
            self.spent = Spent(whole.clock - search.clock, whole.cores - search.cores, search.clock)
            return found

        def _detect_batch_size(self, *args: Any, **kwargs: Any) -> int:
            start, before = Spent.now(), self.searched
            found = super()._detect_batch_size(*args, **kwargs)
            now = Spent.since(start)
            self.searched = Spent(before.clock + now.clock, before.cores + now.cores)
            return int(found)

    lm = Timed(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch,
        device=str(model.device),
        max_length=window,
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
    }, lm.spent


def ours(reader: Reader, exam: Exam) -> tuple[dict[str, list[float]], Spent, dict[str, Any]]:
    """The same from langraft."""
    from langraft.evals.ledger import read_results

    with tempfile.TemporaryDirectory() as folder:
        start = Spent.now()
        summary = evaluate(reader, exam, "lm-eval", Path(folder))
        spent = Spent.since(start)
        scores = {r["id"]: r["scores"] for r in read_results(Path(folder))}
    return scores, spent, summary.as_json()


def furthest(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """The largest difference of any log-probability that both hold."""
    shared = one.keys() & other.keys()
    assert shared, "no question is in both"
    return max(abs(a - b) for key in shared for a, b in zip(one[key], other[key], strict=True))


def prompt_tokens(reader: Reader, exam: Exam) -> int:
    """Tokens of all prompts when each is read whole."""
    plan = make_plan(exam, "lm-eval", Memo(reader.encode_batch), reader.window)
    return sum(len(item.prompt.ids) for item in plan.items)


def right(scores: dict[str, list[float]], exam: Exam) -> float:
    """The share of questions whose largest score is the right letter's."""
    answers = {
        f"{s.key}/{n}": q.answers[0] for s in exam.subjects for n, q in enumerate(s.questions)
    }
    scores = {key: values for key, values in scores.items() if key in answers}
    return sum("ABCD"[v.index(max(v))] == answers[k] for k, v in scores.items()) / len(scores)


def alone(reader: Reader, exam: Exam, plain: bool) -> tuple[dict[str, list[float]], Spent, Any]:
    """langraft's scores, time and figures; with `plain` also read without shared prefixes."""
    scores, spent, summary = ours(reader, exam)
    found: dict[str, Any] = {
        "suite": exam.suite,
        "questions": len(scores),
        "threads": torch.get_num_threads(),
        "langraft seconds": round(spent.clock, 1),
        "langraft core seconds": round(spent.cores, 1),
        "langraft accuracy": right(scores, exam),
        "langraft interval": [summary["measures"]["accuracy"]["micro"][k] for k in ("low", "high")],
        "langraft peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if plain:
        whole, plain_spent, _ = ours(dataclasses.replace(reader, share=False), exam)
        found["plain seconds"] = round(plain_spent.clock, 1)
        found["shared against plain, largest difference"] = furthest(scores, whole)
    return scores, spent, found


def beside(
    reader: Reader, exam: Exam, part: Exam, batch: str, scores: dict[str, list[float]], spent: Spent
) -> dict[str, Any]:
    """lm-eval's figures on `part`, and the ratios: on the same questions both ways timed, and on
    all of `exam`, lm-eval's time going by the tokens of its prompts.
    """
    theirs, their_spent = referee(reader.model, reader.tokenizer, part, batch, reader.window)
    tokens = prompt_tokens(reader, exam), prompt_tokens(reader, part)
    whole = tokens[0] / tokens[1]
    same = spent if len(theirs) == len(scores) else ours(reader, part)[1]
    return {
        "lm-eval questions": len(theirs),
        "lm-eval seconds": round(their_spent.clock, 1),
        "lm-eval core seconds": round(their_spent.cores, 1),
        "lm-eval batch size": batch,
        "lm-eval seconds of search for it, not in its time": round(their_spent.search, 1),
        "langraft seconds on these": round(same.clock, 1),
        "langraft core seconds on these": round(same.cores, 1),
        "langraft accuracy on these": right(scores, part),
        "lm-eval accuracy on these": right(theirs, part),
        "largest difference of a log-probability": furthest(scores, theirs),
        "times faster on these": round(their_spent.clock / same.clock, 2),
        "times fewer core seconds on these": round(their_spent.cores / same.cores, 2),
        "prompt tokens, all questions": tokens[0],
        "prompt tokens, lm-eval's questions": tokens[1],
        "lm-eval seconds for all, by tokens": round(their_spent.clock * whole, 1),
        "times faster on all, by tokens": round(their_spent.clock * whole / spent.clock, 2),
        "times fewer core seconds on all": round(their_spent.cores * whole / spent.cores, 2),
    }


def main() -> None:
    """Print both, their ratio and their differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--suite", choices=sorted(HEADS), default="mmlu")
    parser.add_argument("--limit", type=int, help="questions a subject, else all")
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--referee", type=int, help="questions a subject that lm-eval reads")
    parser.add_argument("--batch", default="1", help="lm-eval's batch size, or auto")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--plain", action="store_true", help="also score without shared prefixes")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    exam, part = (
        slice_of(given.suite, given.data, limit, given.subjects)
        for limit in (given.limit, given.referee or given.limit)
    )
    model, tokenizer = load_model(given.model), load_tokenizer(given.model)
    reader = Reader(model, tokenizer, given.window, "benchmark")
    scores, spent, result = alone(reader, exam, given.plain)
    result |= beside(reader, exam, part, given.batch, scores, spent)
    for key, value in result.items():
        print(f"{key:50} {value}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
