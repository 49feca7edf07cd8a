"""`langraft train` and `langraft checkpoint export` on the finished small run, trained anew; in one
process where nothing is killed, for the verbs start slowly.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_run import records, results
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from langraft.checkpoint.merge import merge_adapters
from langraft.cli import app
from langraft.core.errors import BadInput
from langraft.core.messages import console

STEPS = 16


@pytest.fixture(autouse=True)
def _speaking() -> None:
    """`train` is quiet on all ranks but the first, and says so to the whole process."""
    console.quiet = False


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished run up to its graft."""
    out = tmp_path / "run"
    shutil.copytree(done, out, ignore=shutil.ignore_patterns("pretrain-*", "eval", "export"))
    return out


def command(run: Path, *sets: str) -> list[str]:
    chosen = [part for one in sets for part in ("--set", one)]
    return ["train", str(run / "recipe.yaml"), "--stage", "adapt", "--out", str(run), *chosen]


def train(run: Path, *sets: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, [*command(run, *sets), "--json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return dict(json.loads(found.stdout.splitlines()[-1]))


def torchrun(run: Path, world: int, *sets: str) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(world)]
    launcher += ["--master-port", str(port), "-m", "langraft"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, *launcher, *command(run, *sets)],
        env=env,
        text=True,
        stderr=-1,
        stdout=-1,
        start_new_session=True,
    )


def steps(run: Path) -> list[int]:
    found = records(run / "metrics.jsonl")
    return [r["step"] for r in found if r["stage"] == "pretrain-adapt" and "share" in r]


def losses(run: Path) -> list[float]:
    found = records(run / "metrics.jsonl")
    return [r["loss"] for r in found if r["stage"] == "pretrain-adapt" and "share" in r]


def test_two_ranks_under_torchrun_killed_and_started_again(run: Path, done: Path) -> None:
    """The whole verb, both processes killed with -9 in mid-run: the losses of the one process."""
    killed = torchrun(run, 2)
    places = run / "pretrain-adapt.partial" / "checkpoint"
    deadline = time.monotonic() + 90
    while not list(places.glob("step-*[0-9]/state.json")) and time.monotonic() < deadline:
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.02)
    for beat in (run / "pretrain-adapt.partial" / "ranks").iterdir():
        os.kill(json.loads(beat.read_text())["pid"], signal.SIGKILL)
    os.killpg(killed.pid, signal.SIGKILL)  # the launcher would wait, then say what happened
    killed.communicate()
    assert not (run / "pretrain-adapt").exists()
    again = torchrun(run, 2)
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "going on at step" in said
    assert losses(run) == pytest.approx(losses(done), abs=2e-5)
    assert results(run, "pretrain-adapt")["bits"] == pytest.approx(
        results(done, "pretrain-adapt")["bits"], abs=2e-4
    )


def _stopped(run: Path, after: int, monkeypatch: pytest.MonkeyPatch, *sets: str) -> None:
    """Train until SIGTERM comes during step `after`."""
    from langraft.train import engine

    beat = engine.Watch.beat

    def beats(self: Any, step: int) -> None:
        beat(self, step)
        if step == after - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Watch, "beat", beats)
        found = CliRunner().invoke(app, command(run, *sets), catch_exceptions=False)
    assert found.exit_code == 0
    assert "stopped" in found.stderr


def test_stopped_exported_refused_and_gone_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM saves; the checkpoint becomes a folder and an adapter; another recipe is refused."""
    tree = yaml.safe_load((run / "recipe.yaml").read_text())
    tree["pretrain"][0] |= {"train": "lora", "lora": {"rank": 4, "alpha": 8}, "evaluate": 4}
    tree["hardware"] |= {"track": ["tensorboard"]}
    (run / "recipe.yaml").write_text(yaml.safe_dump(tree))
    _stopped(run, 6, monkeypatch)
    assert not (run / "pretrain-adapt").exists()
    out = tmp_path / "at-noon"
    export = ["checkpoint", "export", str(run), "--stage", "adapt", "--out", str(out), "--json"]
    found = CliRunner().invoke(app, export, catch_exceptions=False)
    assert json.loads(found.stdout.splitlines()[-1]) == {"step": 6, "model": str(out)}
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.get_input_embeddings().num_embeddings == 768
    with pytest.raises(BadInput, match=r"no checkpoint of step 3; there are: .*6"):
        CliRunner().invoke(app, [*export, "--step", "3"], catch_exceptions=False)
    with pytest.raises(BadInput, match=r"another recipe: pretrain-adapt: lr was 0.002 and is 0.1"):
        train(run, "pretrain.0.lr=0.1")
    numbers = train(run)
    assert (numbers["steps"], numbers["train"]) == (STEPS, "lora")
    assert steps(run) == list(range(1, STEPS + 1))
    assert list((run / "tensorboard" / "pretrain-adapt").glob("events.*"))
    # what the stage merged is what the checkpoint room makes of the adapter it saved
    merged = tmp_path / "merged"
    note = merge_adapters(run / "graft", [run / "pretrain-adapt" / "adapter"], merged)
    assert note["evidence"] == ["the digest of the base's weights"]
    ours = AutoModelForCausalLM.from_pretrained(run / "pretrain-adapt").state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(merged).state_dict()
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, atol=1e-6, rtol=0)
    with pytest.raises(BadInput, match="merge it into the base it was trained on"):
        merge_adapters(run / "pretrain-adapt", [run / "pretrain-adapt" / "adapter"], tmp_path / "x")


def test_late_buckets_a_slice_of_a_benchmark_and_epochs(
    run: Path, small: Path, tmp_path: Path
) -> None:
    late = tmp_path / "late"
    for name in ("zh", "en"):
        (late / "monday").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(small / f"{name}.jsonl", late / "monday" / f"{name}.jsonl")
    numbers = train(
        run,
        "pretrain.0.tokens=2048",
        "pretrain.0.buckets=2",
        f"pretrain.0.late={late}",
        "pretrain.0.epochs=0.02",
        "pretrain.0.evaluate=1",
        "forgetting={suites: {csv: 1}, questions: 2}",
        f"eval.data={small / 'exam.csv'}",
    )
    assert numbers["steps"] > 4
    assert numbers["mix"] == pytest.approx({"zh": 0.5, "en": 0.5}, abs=1 / numbers["steps"])
    now, base = numbers["suites"]["now"]["csv"], numbers["suites"]["base"]["csv"]
    assert 0 <= now <= 1 and 0 <= base <= 1
    logged = [r["suites"] for r in records(run / "metrics.jsonl") if "suites" in r]
    assert logged[-1] == numbers["suites"]
    assert len(logged) == len([r for r in records(run / "metrics.jsonl") if "forgetting" in r])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("pretrain.0.mix={zh: 0.5, ja: 0.5}", "pretrain.0 .*'ja' has a share but no documents"),
        ("pretrain.0.tokens=9000000", "pretrain.0 .*would be read .* times .*set epochs to"),
        ("pretrain.0.mix={zh: 0.5, en: 0.4}", "pretrain.0: .*mix sums to 0.9, not to 1"),
        ("pretrain.0.layers=[1]", "name the blocks with `train: layers`"),
        ("hardware.frozen=bf16", "hardware.frozen: bf16 needs hardware.precision bf16"),
    ],
)
def test_bad_input_names_its_key(run: Path, change: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        train(run, change)


def test_ids_of_another_vocabulary_are_refused(run: Path) -> None:
    (place,) = (run / "shards").glob("*/zh/00000")
    (place / "highest").write_text("99999")
    with pytest.raises(BadInput, match=r"zh: holds ids up to 99999, but the model has 768 rows"):
        train(run, "pretrain.0.lr=1e-5")
