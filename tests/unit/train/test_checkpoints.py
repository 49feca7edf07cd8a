"""What writing a checkpoint costs in memory, and what it must wait for."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from langraft.checkpoint.writing import write_file
from langraft.core.errors import RunFailed
from langraft.core.hardware import forget_peak_memory, give_back_memory, peak_memory
from langraft.core.metrics import MetricsLog
from langraft.train import checkpoints
from langraft.train.checkpoints import Checkpoints, Keep, complete, read_weights
from langraft.train.engine import StepWork, run_loop
from langraft.train.loop import Loop
from langraft.train.optim import Optimiser

ROWS, WIDTH, STEPS = 64, 32, 4


def _learner(rows: int = ROWS, width: int = WIDTH) -> Optimiser:
    generator = torch.Generator().manual_seed(3)
    matrix = nn.Parameter(torch.randn(rows, width, generator=generator))
    learner = Optimiser({"matrix": matrix, "norm": nn.Parameter(torch.ones(width))}, 1e-2)
    for parameter in learner.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    learner.step(1.0, 1.0)
    return learner


def _train(folder: Path) -> dict[str, dict[str, Tensor]]:
    """A few steps with a checkpoint after each; what each of them holds."""
    learner = _learner()
    inputs = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(5))

    def loss() -> Tensor:
        matrix, norm = learner.parameters["matrix"], learner.parameters["norm"]
        return ((inputs * norm) @ matrix.T).square().sum()

    folder.mkdir()
    often = {"checkpoint_seconds": 0.0, "keep": Keep(last=STEPS)}
    loop = Loop("x", STEPS, 0.0, 0.0, 1.0, schedule="constant", **often)  # type: ignore[arg-type]
    log = MetricsLog(folder / "metrics.jsonl", "x")
    run_loop(loop, lambda step: StepWork([loss], 8, 8), learner, folder, log)
    return {place.name: read_weights(place) for place in complete(folder)}


def test_a_slow_disk_gets_the_weights_of_the_step_that_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread reads weights in place: the next update has to wait until it has."""
    quick = _train(tmp_path / "quick")

    def slowly(*arguments: Any) -> None:
        time.sleep(0.1)
        write_file(*arguments)

    monkeypatch.setattr(checkpoints, "write_file", slowly)
    slow = _train(tmp_path / "slow")
    assert list(quick) == list(slow) == [f"step-{step:08d}" for step in range(1, STEPS)]
    for name, weights in quick.items():
        assert torch.equal(weights["matrix"], slow[name]["matrix"])
        assert torch.equal(weights["norm"], slow[name]["norm"])
    first, last = quick["step-00000001"], quick[f"step-{STEPS - 1:08d}"]
    assert not torch.equal(first["matrix"], last["matrix"])


def test_the_update_waits_for_the_reading_and_not_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushing = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: flushing.wait(30))
    saving = Checkpoints(_learner(), tmp_path)
    saving.release()  # nothing is written: at once
    saving.save({"step": 1})
    saving.release()
    assert not complete(tmp_path)
    flushing.set()
    saving.close()
    assert [place.name for place in complete(tmp_path)] == ["step-00000001"]


def test_a_disk_that_fails_lets_the_update_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_file", refuse)
    saving = Checkpoints(_learner(), tmp_path)
    saving.save({"step": 1})
    saving.release()
    with pytest.raises(RunFailed, match="No space left"):
        saving.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark cannot be set back")
def test_a_checkpoint_takes_no_memory_beside_what_it_saves(tmp_path: Path) -> None:
    """Weights and two moments of 8 million numbers are 96 MB; a copy of them would show."""
    learner = _learner(8_000, 1_000)
    saving = Checkpoints(learner, tmp_path)
    learner.drop()
    give_back_memory()
    forget_peak_memory()
    before = peak_memory()
    saving.save({"step": 1})
    saving.close()
    assert complete(tmp_path)
    assert peak_memory() - before < 40e6


def test_the_file_says_what_torch_would_have_said(tmp_path: Path) -> None:
    """torch's own writer makes a file of the same tensors, names and offsets."""
    from safetensors import safe_open
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    learner = _learner()
    tensors = {f"weights/{n}": p.detach() for n, p in learner.parameters.items()}
    found = []
    for writer in (
        HuggingFaceStorageWriter(str(tmp_path / "torch"), save_distributed=True),
        checkpoints._Writer(tmp_path / "ours"),
    ):
        checkpoints._save_alone(tensors, writer)
        (place,) = Path(writer.path).glob("*.safetensors")
        with safe_open(place, "pt") as stream:
            offsets = stream.metadata()["DCP_SHARDING_INFO"]
            found.append((offsets, {name: stream.get_tensor(name) for name in tensors}))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in tensors)
