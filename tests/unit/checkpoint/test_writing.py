"""Streamed writing: what transformers and the safetensors library read back, and digests."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from checkpoints import state_of, write_model
from hypothesis import given, settings
from hypothesis import strategies as st
from random_llama import random_llama, weights
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from langraft.checkpoint.digest import Witness, combined, read_records, weights_digest
from langraft.checkpoint.files import open_file
from langraft.checkpoint.folder import save_model
from langraft.checkpoint.reading import open_checkpoint
from langraft.checkpoint.stream import BLOCK_ELEMENTS, StoredTensor, in_memory, spans
from langraft.checkpoint.writing import new_folder, write_checkpoint, write_weights
from langraft.core.errors import BadInput, RunFailed

DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), max_size=6
    ),
    st.integers(1, 200),
)
def test_the_library_reads_what_is_written(
    layout: list[tuple[torch.dtype, list[int]]], shard: int
) -> None:
    wanted = {
        f"t{number}": torch.randint(0, 2, shape).to(dtype)
        for number, (dtype, shape) in enumerate(layout)
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stored = [in_memory(key, value) for key, value in wanted.items()]
        records = write_weights(folder, stored, shard_bytes=shard)
        found = state_of(folder)
        assert set(found) == set(wanted) == set(records)
        for key, value in wanted.items():
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)
        files = sorted(folder.glob("*.safetensors"))
        for path in files[:-1]:
            assert len(load_file(path)) == 1 or path.stat().st_size < shard + 1_000
        mine = {key: t for path in files for key, t in open_file(path).items()}
        assert all(torch.equal(mine[key].whole(), value) for key, value in wanted.items())


@given(st.integers(0, 5_000), st.integers(0, 3_000))
def test_spans_cover_every_row_once(height: int, width: int) -> None:
    covered = [row for start, stop in spans(height, height * width) for row in range(start, stop)]
    assert covered == (list(range(height)) if height * width else [])
    assert all(
        (stop - start) * width <= max(width, BLOCK_ELEMENTS)
        for start, stop in spans(height, height * width)
    )


def test_transformers_loads_shards(tmp_path: Path) -> None:
    model = random_llama()
    tensors = [in_memory(name, value) for name, value in weights(model).items()]
    write_checkpoint(
        tmp_path / "out",
        tensors,
        config=model.config.to_dict(),
        files={},
        made={"by": "test"},
        shard_bytes=20_000,
    )
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 3
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in weights(model).values())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert all(torch.equal(weights(loaded)[n], v) for n, v in weights(model).items())


def test_the_digest_is_of_the_weights_not_of_the_files(tmp_path: Path) -> None:
    one = weights_digest(open_checkpoint(write_model(tmp_path / "one")))
    shards = write_model(tmp_path / "shards", shard="20KB")
    assert weights_digest(open_checkpoint(shards)) == one
    state = weights(random_llama())
    (tmp_path / "bin").mkdir()
    random_llama().config.save_pretrained(tmp_path / "bin")
    torch.save(dict(reversed(state.items())), tmp_path / "bin" / "pytorch_model.bin")
    assert weights_digest(open_checkpoint(tmp_path / "bin")) == one
    changed = random_llama()
    changed.lm_head.weight.data[3, 4] += 1e-3
    save_model(changed, tmp_path / "changed")
    assert weights_digest(open_checkpoint(tmp_path / "changed")) != one


def test_written_records_are_those_that_are_read(tmp_path: Path) -> None:
    model = random_llama()
    tensors = [in_memory(name, value) for name, value in weights(model).items()]
    note = write_checkpoint(
        tmp_path / "out", tensors, config=model.config.to_dict(), files={}, made={}
    )
    checkpoint = open_checkpoint(tmp_path / "out")
    assert note["weights"] == combined(read_records(checkpoint, "read"))


def test_writing_leaves_torch_its_threads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    write_weights(tmp_path, [in_memory("t", torch.ones(4, 4))])
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == before


def test_a_witness_sees_what_a_reader_reads(tmp_path: Path) -> None:
    """Also when some tensors are read in part, twice, or not at all."""
    checkpoint = open_checkpoint(write_model(tmp_path / "model"))
    witness = Witness(tmp_path)
    watched = {t.name: t for t in witness.watch(checkpoint.tensors.values())}
    for number, tensor in enumerate(watched.values()):
        if number % 4 == 0:
            tensor.rows(0, tensor.height)
        elif number % 4 == 1:
            tensor.rows(0, 1)
            for start in range(tensor.height):
                tensor.rows(start, start + 1)
        elif number % 4 == 2:
            tensor.rows(0, tensor.height)
            tensor.rows(0, tensor.height)
    assert witness.digest() == weights_digest(checkpoint)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def broken(start: int, stop: int) -> torch.Tensor:
        raise RuntimeError("the reader broke")

    tensors = [
        in_memory("first", torch.ones(4, 4)),
        StoredTensor("second", torch.float32, (4, 4), broken),
    ]
    with pytest.raises(RuntimeError, match="the reader broke"):
        write_checkpoint(tmp_path / "out", tensors, config={}, files={}, made={})
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room(tmp_path: Path) -> None:
    with (
        pytest.raises(RunFailed, match=r"1000000\.00 GB are to be written and .* GB are free"),
        new_folder(tmp_path / "out", 10**15),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_attempt_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "half.safetensors").write_bytes(b"half")
    with new_folder(tmp_path / "out") as partial:
        assert not list(partial.iterdir())
    assert (tmp_path / "out").is_dir()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(RunFailed, match="cannot write"),
        new_folder(tmp_path / "file" / "out"),
    ):
        pass
    with pytest.raises(BadInput, match="exists already"), new_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"
