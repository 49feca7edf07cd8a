"""Stages: done once, gone on with, never half there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langraft.core import manifest
from langraft.core.errors import RunFailed
from langraft.core.io import read_json, sha256_file
from langraft.core.manifest import Stage, outputs_digest, read_manifest, run_lock, run_stage


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package need not be installed for these tests."""
    monkeypatch.setattr(manifest, "versions", lambda: {"python": "3"})


class Killed(BaseException):
    """Stands for the end of the process."""


class Work:
    """Writes one file, and remembers what it found each time."""

    def __init__(self, dies: bool = False) -> None:
        self.found: list[list[str]] = []
        self.dies = dies

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.found.append(sorted(p.name for p in folder.iterdir() if p.name != "fingerprint"))
        (folder / "half").write_text("half")
        if self.dies:
            raise Killed
        (folder / "out").write_text("whole")
        return {"answer": 42}


def _stage(work: Work, **changes: Any) -> Stage:
    parts = {"settings": {"size": 1}, "inputs": {"text": "abc"}} | changes
    return Stage("corpus", work=work, **parts)


def test_a_stage_leaves_a_folder_and_its_manifest(tmp_path: Path) -> None:
    found = run_stage(tmp_path, _stage(Work()))
    folder = tmp_path / "corpus"
    assert sorted(p.name for p in folder.iterdir()) == ["half", "manifest.json", "out"]
    assert found == read_json(folder / "manifest.json") == read_manifest(folder)
    assert found["outputs"] == {n: sha256_file(folder / n) for n in ("half", "out")}
    assert (found["stage"], found["results"]) == ("corpus", {"answer": 42})
    assert (found["settings"], found["inputs"]) == ({"size": 1}, {"text": "abc"})
    assert [p.name for p in tmp_path.iterdir()] == ["corpus"]


def test_an_unchanged_stage_is_skipped(tmp_path: Path) -> None:
    work = Work()
    first = run_stage(tmp_path, _stage(work))
    assert run_stage(tmp_path, _stage(work)) == first
    assert len(work.found) == 1


@pytest.mark.parametrize("changes", [{"settings": {"size": 2}}, {"inputs": {"text": "abd"}}])
def test_a_changed_stage_is_done_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    work = Work()
    first = run_stage(tmp_path, _stage(work))
    second = run_stage(tmp_path, _stage(work, **changes))
    assert work.found == [[], []]
    assert first["fingerprint"] != second["fingerprint"]
    assert [p.name for p in tmp_path.iterdir()] == ["corpus"]


def test_a_lost_output_is_made_again(tmp_path: Path) -> None:
    work = Work()
    run_stage(tmp_path, _stage(work))
    (tmp_path / "corpus" / "out").unlink()
    run_stage(tmp_path, _stage(work))
    assert len(work.found) == 2
    assert (tmp_path / "corpus" / "out").exists()


def test_killed_work_has_no_final_name_and_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run_stage(tmp_path, _stage(Work(dies=True)))
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.partial"]
    assert read_manifest(tmp_path / "corpus") is None
    again = Work()
    run_stage(tmp_path, _stage(again))
    assert again.found == [["half"]]
    assert [p.name for p in tmp_path.iterdir()] == ["corpus"]


def test_what_other_settings_left_is_wiped(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run_stage(tmp_path, _stage(Work(dies=True)))
    other = Work()
    run_stage(tmp_path, _stage(other, settings={"size": 2}))
    assert other.found == [[]]


def test_a_finished_stage_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    first = run_stage(tmp_path, _stage(Work()))
    with pytest.raises(Killed):
        run_stage(tmp_path, _stage(Work(dies=True), settings={"size": 2}))
    assert read_manifest(tmp_path / "corpus") == first
    unused = Work()
    assert run_stage(tmp_path, _stage(unused)) == first
    assert unused.found == []


def test_the_digest_of_outputs() -> None:
    one, two = {"outputs": {"a": "1", "b": "2"}}, {"outputs": {"b": "2", "a": "1"}}
    assert outputs_digest(one) == outputs_digest(two)
    assert outputs_digest(one) != outputs_digest({"outputs": {"a": "1", "b": "3"}})


HOLD = """
import sys
from pathlib import Path
from langraft.core.manifest import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_have_one_folder(tmp_path: Path, root: Path) -> None:
    run = tmp_path / "runs" / "a"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        wanted = rf"another langraft run works in this folder \(pid {holder.pid}\)"
        with pytest.raises(RunFailed, match=wanted), run_lock(run):
            pass
        holder.stdin.close()
        assert holder.wait() == 0
    for _ in range(2):
        with run_lock(run):
            assert (run / ".lock").read_text() == str(os.getpid())


def test_a_killed_holder_frees_the_folder(tmp_path: Path, root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    with run_lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_run_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunFailed, match="run: cannot write"), run_lock(tmp_path / "run"):
        pass
