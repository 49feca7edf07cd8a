"""Two and four ranks against one: losses, weights, stopping, dying, hanging, going on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from gloo_ranks import Case, launch, logged, train, train_all, train_and_break
from safetensors.torch import load_file

from langraft.core.errors import BadInput
from langraft.train.checkpoints import complete
from langraft.train.ranks import Ranks

LORA = {"train": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.0}}
CASES = [
    Case("full"),
    # Adam steps as far for a gradient that is rounding alone: three times the rate gives 2e-6
    Case("tied", {"lr": 1e-3}, tied=True),
    Case("accumulated", {"micro_rows": 1}),
    Case("new-rows", {"train": "new-rows", "lr_new_rows": 1e-2}),
    Case("lora", LORA),
    Case("lora, tied", LORA, tied=True),
    Case("lora, 4 bits", LORA, {"frozen": "nf4"}),
    Case("selective", hardware={"checkpointing": "selective"}),
    Case("recomputed", hardware={"checkpointing": "full"}),
    Case("8bit", hardware={"states": "8bit"}, hidden=64),  # smaller matrices keep full states
]
OFTEN = {"checkpoint_seconds": 1e-9}


def losses(folder: Path) -> list[float]:
    """The loss of every step."""
    return [record["loss"] for record in logged(folder)]


def same_bytes(first: Path, second: Path) -> bool:
    """Whether two stages learnt the same to the bit."""
    a, b = load_file(first / "learnt"), load_file(second / "learnt")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks made of every case."""
    folder = tmp_path_factory.mktemp("two")
    for code, said in launch(2, folder, train_all, CASES):
        assert code == 0, said
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_ranks_learn_what_one_learns(case: Case, two: Path, tmp_path: Path) -> None:
    """A code of an 8-bit moment may fall to either side of a border."""
    near = 1e-4 if case.name == "8bit" else 1e-6
    train(tmp_path, case)
    assert losses(two / case.name) == pytest.approx(losses(tmp_path), abs=near)
    norms = [[r["grad_norm"] for r in logged(place)] for place in (tmp_path, two / case.name)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3 if case.name == "8bit" else 1e-5)
    learnt, alone = load_file(two / case.name / "learnt"), load_file(tmp_path / "learnt")
    assert learnt.keys() == alone.keys()
    if case.name != "8bit":
        for name, value in alone.items():
            torch.testing.assert_close(learnt[name], value, atol=2e-4, rtol=0, msg=name)


def test_every_rank_hears_what_the_lead_says(two: Path) -> None:
    for rank in (0, 1):
        assert json.loads((two / f"agreed-{rank}.json").read_text()) == ["told by rank 0", "再见"]


def test_two_copies_of_two_shards(tmp_path: Path) -> None:
    """Hybrid sharding, with gradients summed over the copies after the last micro-batch only."""
    case = Case("hybrid", {"micro_rows": 1})
    assert [code for code, _ in launch(4, tmp_path, train_all, [case], 2)] == [0] * 4
    train(tmp_path / "alone", case)
    assert losses(tmp_path / "hybrid") == pytest.approx(losses(tmp_path / "alone"), abs=1e-6)


def test_a_group_that_does_not_divide_the_ranks(tmp_path: Path) -> None:
    found = launch(2, tmp_path, train_all, CASES[:1], 3)
    assert [code for code, _ in found] == [1, 1]
    assert "hardware.shard_group: 3 does not divide the 2 ranks" in found[0][1]


def test_a_batch_that_the_ranks_cannot_share(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="8 rows, which 3 ranks cannot share evenly; take a multipl"):
        train(tmp_path, CASES[0], Ranks(0, 3))


@pytest.mark.parametrize("what", ["stop", "die"])
def test_a_rank_that_stops_or_dies_and_two_that_go_on(what: str, two: Path, tmp_path: Path) -> None:
    """SIGTERM or SIGKILL for rank 1 alone; the same bytes in the end."""
    case = Case("full", OFTEN)
    found = launch(2, tmp_path, train_and_break, case, 1, what, 4)
    if what == "stop":
        assert [code for code, _ in found] == [0, 0]
        assert losses(tmp_path / "full") == losses(two / "full")[:5]
    else:
        assert [code for code, _ in found] == [1, -signal.SIGKILL]
        assert "adapt: rank 0 lost another rank in step 5: rank 1 (" in found[0][1]
        assert "is dead, last finished step 3" in found[0][1]
        assert "goes on from the last checkpoint" in found[0][1]
    assert complete(tmp_path / "full")
    assert launch(2, tmp_path, train_all, [case])[0][0] == 0
    assert losses(tmp_path / "full") == losses(two / "full")
    assert same_bytes(tmp_path / "full", two / "full")


def test_a_rank_that_hangs_is_named(tmp_path: Path) -> None:
    case = Case("full", {}, {"hang_seconds": 12})  # steps are slow on a busy machine
    (code, said), (other, _) = launch(2, tmp_path, train_and_break, case, 1, "hang", 4)
    assert (code, other) == (1, 1)
    assert "error: rank 0 waits since" in said
    assert "in step 5: rank 1 (" in said
    assert "is alive, last finished step 3. Start the same command again" in said


def test_a_checkpoint_of_two_is_read_by_one_and_of_one_by_two(two: Path, tmp_path: Path) -> None:
    case = Case("full", OFTEN)
    launch(2, tmp_path, train_and_break, case, 0, "stop", 3)
    train(tmp_path / "full", case)
    assert losses(tmp_path / "full") == pytest.approx(losses(two / "full"), abs=1e-6)

    def stop(step: int, tokens: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    other = tmp_path / "other"
    with pytest.raises(SystemExit) as left:
        train(other / "full", case, evaluate=stop)
    assert left.value.code == 0
    assert launch(2, other, train_all, [case])[0][0] == 0
    assert losses(other / "full") == pytest.approx(losses(two / "full"), abs=1e-6)


def test_a_poisoned_bucket_is_judged_alike_by_all_ranks(tmp_path: Path) -> None:
    """A quarter of the steps are random ids: both skip and return at the same steps."""
    change = {"tokens": 64 * 96, "epochs": 1_000, "batch_tokens": 64, "schedule": "constant"}
    change |= {"buckets": 4, "guard": {"skips": 8, "threshold": 8, "window": 8}}
    case = Case("poisoned", change, poisoned=True)
    assert [code for code, _ in launch(2, tmp_path, train_all, [case])] == [0, 0]
    first, second = (
        json.loads((tmp_path / "poisoned" / f"rank-{rank}.json").read_text()) for rank in (0, 1)
    )
    assert first["guard"] == second["guard"]
    assert [e["step"] for e in first["guard"] if e["event"] == "returned"] == [48] * 3
    assert first["loss_last"] < 1.0
