"""The SLURM script as far as one machine goes: two tasks, told to stop, queued again, done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import records, results

# What SLURM's own commands do for a job of two tasks on one machine: `srun` starts both and hands a
# signal on; `scontrol` knows the host's name and writes down what was queued again.
SRUN = """#!/bin/bash
shift
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=2 "$@" &
  tasks+=($!)
done
echo "${tasks[@]}" > "$SLURM_STAND_IN/tasks"
code=0
for task in "${tasks[@]}"; do wait "$task" || code=$?; done
exit $code
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && echo 127.0.0.1
[ "$1" = requeue ] && echo "$2" >> "$SLURM_STAND_IN/queued"
exit 0
"""


def _submit(root: Path, run: Path, place: Path) -> subprocess.Popen[str]:
    env = os.environ | {
        "PATH": f"{place}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SLURM_JOB_NODELIST": "node1",
        "SLURM_JOB_ID": "4711",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_STAND_IN": str(place),
    }
    script = root / "recipes" / "cluster" / "train.sbatch"
    command = ["bash", str(script), str(run / "recipe.yaml"), "adapt", str(run)]
    return subprocess.Popen(command, env=env, text=True, stderr=-1, stdout=-1)


@pytest.mark.slow
def test_a_job_is_stopped_queued_again_and_done(done: Path, root: Path, tmp_path: Path) -> None:
    run, place = tmp_path / "run", tmp_path / "slurm"
    shutil.copytree(done, run, ignore=shutil.ignore_patterns("pretrain-*", "eval", "export"))
    place.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    first = _submit(root, run, place)
    partial = run / "pretrain-adapt.partial"
    while not list(partial.glob("checkpoint/step-*[0-9]/state.json")):
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.02)
    for task in (place / "tasks").read_text().split():  # as `--signal=TERM@300` does
        os.kill(int(task), signal.SIGTERM)
    _, said = first.communicate(timeout=100)
    assert first.returncode == 0, said
    assert (place / "queued").read_text() == "4711\n"
    assert not (run / "pretrain-adapt").exists()
    second = _submit(root, run, place)
    _, said = second.communicate(timeout=100)
    assert second.returncode == 0, said
    assert (place / "queued").read_text() == "4711\n"
    assert results(run, "pretrain-adapt")["steps"] == 16
    found = [r for r in records(run / "metrics.jsonl") if r["stage"] == "pretrain-adapt"]
    assert [r["step"] for r in found if "share" in r] == list(range(1, 17))
