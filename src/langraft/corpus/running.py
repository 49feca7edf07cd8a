"""Tasks of a build: run, counted, and their errors brought home."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langraft.core.errors import BadInput, LangraftError, RunFailed
from langraft.core.io import disk_errors
from langraft.core.messages import bar
from langraft.corpus.engine import run_tasks
from langraft.corpus.plan import Plan

Task = Callable[[Plan, str], str]


def run(
    plan: Plan, name: str, work: Task, tasks: Sequence[str], cluster: str | None, size: int
) -> dict[str, dict[str, Any]]:
    """Run the tasks that are not done; returns every task's note, with the CPU-seconds it took."""
    notes: dict[str, dict[str, Any]] = {}
    guarded = functools.partial(_guarded, plan, work)
    with bar() as progress:
        task = progress.add_task(name, total=len(tasks), note="")
        for note in run_tasks(guarded, tasks, size, cluster):
            done = json.loads(note)
            if "error" in done:
                raise (BadInput if done["error"] == "BadInput" else RunFailed)(done["message"])
            notes[done.pop("task")] = done
            progress.advance(task)
    return notes


def _guarded(plan: Plan, work: Task, task: str) -> str:
    """A worker's expected error comes back as a note, because engines wrap what is raised."""
    started = time.thread_time()
    try:
        with disk_errors(plan.work):
            note: dict[str, Any] = json.loads(work(plan, task))
    except LangraftError as error:
        return json.dumps({"error": type(error).__name__, "message": str(error)})
    spent = time.thread_time() - started
    return json.dumps({**note, "task": task, "spent": spent}, ensure_ascii=False)


def spent(notes: Mapping[str, Mapping[str, Any]]) -> float:
    """CPU-seconds of all tasks together."""
    return sum(float(note["spent"]) for note in notes.values())
