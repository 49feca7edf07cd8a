"""Damaged folders: every operation refuses every one, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import DAMAGES, tuned, write_model
from random_adapter import ATTENTION, trained_adapter
from random_llama import random_llama

from langraft.checkpoint.arithmetic import add_vectors, average
from langraft.checkpoint.convert import convert
from langraft.checkpoint.delta import apply_delta, make_delta
from langraft.checkpoint.folder import save_model
from langraft.checkpoint.merge import merge_adapters
from langraft.checkpoint.published_delta import apply_published
from langraft.core.errors import BadInput

SHARDED = "20KB"


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the operations need besides the damaged folder `base`."""
    folder = tmp_path_factory.mktemp("around")
    base = random_llama()
    write_model(folder / "good", base)
    write_model(folder / "tuned", tuned(base))
    trained_adapter(base, folder / "adapter", target_modules=ATTENTION)
    make_delta(folder / "good", folder / "tuned", folder / "delta")
    save_model(tuned(base, seed=9), folder / "published")
    return folder


# what is done with a damaged folder
OPERATIONS: dict[str, Callable[[Path, Path, Path], object]] = {
    "merge": lambda bad, at, out: merge_adapters(bad, [at / "adapter"], out),
    "delta-make from": lambda bad, at, out: make_delta(bad, at / "tuned", out),
    "delta-make to": lambda bad, at, out: make_delta(at / "tuned", bad, out),
    "delta-apply": lambda bad, at, out: apply_delta(bad, at / "delta", out),
    "published delta": lambda bad, at, out: apply_published(bad, at / "published", out),
    "average": lambda bad, at, out: average([bad, at / "tuned"], out),
    "slerp": lambda bad, at, out: average([at / "good", bad], out, method="slerp"),
    "chat vector": lambda bad, at, out: add_vectors(bad, [(1, at / "tuned", at / "good")], out),
    "convert": lambda bad, at, out: convert(bad, out),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_refused_before_the_output_exists(
    operation: str, damage: str, around: Path, tmp_path: Path
) -> None:
    bad = write_model(tmp_path / "bad", random_llama(), shard=SHARDED)
    spoil, message = DAMAGES[damage]
    spoil(bad)
    with pytest.raises(BadInput, match=message):
        OPERATIONS[operation](bad, around, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_sound_folders_are_taken(operation: str, around: Path, tmp_path: Path) -> None:
    good = write_model(tmp_path / "bad", random_llama(), shard=SHARDED)
    OPERATIONS[operation](good, around, tmp_path / "out")
    assert (tmp_path / "out").is_dir()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_is_written_over(operation: str, around: Path, tmp_path: Path) -> None:
    good = write_model(tmp_path / "bad", random_llama())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="out: exists already"):
        OPERATIONS[operation](good, around, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
