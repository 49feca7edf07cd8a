"""Foreign weight files: what they give, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoints import state_of, write_model
from random_llama import random_llama, weights
from safetensors.torch import load_file, save_file

from langraft.checkpoint import files
from langraft.checkpoint.convert import convert
from langraft.checkpoint.files import open_file
from langraft.checkpoint.folder import load_model
from langraft.checkpoint.reading import open_checkpoint
from langraft.core.errors import BadInput


def _pickled(folder: Path, shards: int, *, index: bool) -> Path:
    """A folder of `pytorch_model*.bin` files."""
    folder.mkdir()
    random_llama().config.save_pretrained(folder)
    state = list(weights(random_llama()).items())
    places = {}
    for number in range(shards):
        name = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        if shards == 1:
            name = "pytorch_model.bin"
        part = dict(state[number::shards])
        torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    if index:
        text = json.dumps({"metadata": {}, "weight_map": places})
        (folder / "pytorch_model.bin.index.json").write_text(text)
    return folder


@pytest.mark.parametrize(("shards", "index"), [(1, False), (3, True), (3, False)])
def test_pickled_weights(shards: int, index: bool, tmp_path: Path) -> None:
    folder = _pickled(tmp_path / "model", shards, index=index)
    convert(folder, tmp_path / "out")
    wanted = weights(random_llama())
    found = state_of(tmp_path / "out")
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    load_model(tmp_path / "out")


def test_safetensors_shards_without_an_index(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", shard="20KB")
    (folder / "model.safetensors.index.json").unlink()
    wanted = weights(random_llama())
    assert set(open_checkpoint(folder).tensors) == set(wanted)
    (folder / "model-00002-of-00006.safetensors").unlink()
    with pytest.raises(BadInput, match=r"no index, and shard number \[2\] of \[6\] is missing"):
        open_checkpoint(folder)


def test_rows_are_the_tensors_rows(tmp_path: Path) -> None:
    tensors = {
        "matrix": torch.arange(12, dtype=torch.float64).reshape(4, 3),
        "cube": torch.randn(4, 2, 3).bfloat16(),
        "number": torch.tensor(7, dtype=torch.int16),
        "flags": torch.tensor([True, False, True]),
        "nothing": torch.empty(0, 3),
        "narrow": torch.randn(5).to(torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.bin")
    for file in ("a.safetensors", "a.bin"):
        found = open_file(tmp_path / file)
        assert torch.equal(found["matrix"].rows(1, 3), tensors["matrix"][1:3])
        assert torch.equal(found["cube"].rows(3, 4), tensors["cube"][3:])
        assert found["number"].whole() == 7
        assert found["number"].whole().shape == ()
        assert found["flags"].whole().tolist() == [True, False, True]
        assert found["nothing"].whole().shape == (0, 3)
        assert found["narrow"].whole().float().tolist() == tensors["narrow"].float().tolist()


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save({"weight": Trap()}, tmp_path / "a.bin")
    with pytest.raises(BadInput, match="cannot be read without running code from it"):
        open_file(tmp_path / "a.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"step": 3, "weight": torch.ones(2)}, "'step' is a int, not a tensor"),
        ({"model": {"weight": torch.ones(2)}}, "'model' is a dict, not a tensor"),
        ([torch.ones(2)], "holds a list, not a state dict"),
    ],
)
def test_more_than_a_state_dict(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.bin")
    with pytest.raises(BadInput, match=message):
        open_file(tmp_path / "a.bin")


def test_a_truncated_pickle(tmp_path: Path) -> None:
    torch.save(weights(random_llama()), tmp_path / "a.bin")
    content = (tmp_path / "a.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"a\.bin: cannot be read .* or is truncated"):
        open_file(tmp_path / "a.bin")


def _header(text: str, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated or not a safetensors file"),
        (b"\xff" * 40, "truncated or not a safetensors file"),
        (_header("{not json"), "its header is damaged"),
        (_header("[]"), "its header is damaged"),
        (_header('{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}'), "header is damaged"),
        (
            _header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', b"1234"),
            "gives 'a' an impossible place",
        ),
        (
            _header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"12345678"),
            "gives 'a' an impossible place",
        ),
        (
            _header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"12345678"),
            "truncated: its header promises",
        ),
    ],
)
def test_damaged_headers(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        open_file(tmp_path / "a.safetensors")


def test_a_folder_that_is_something_else(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gone: no such folder"):
        open_checkpoint(tmp_path / "gone")
    with pytest.raises(BadInput, match=r"no config\.json, so this is not a model folder$"):
        open_checkpoint(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match="it is an adapter: `langraft checkpoint merge`"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"no weights \(looked for model\.safetensors"):
        open_checkpoint(tmp_path)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", shard="20KB")
    first, second = sorted(folder.glob("*.safetensors"))[:2]
    save_file(load_file(second) | load_file(first), second, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"00002-of-00006\.safetensors: tensor '.*' is in .*00001"):
        open_checkpoint(folder)


def test_a_pickle_is_mapped_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read must not pile up: after so many bytes the map is dropped."""
    folder = _pickled(tmp_path / "model", 1, index=False)
    loads = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: loads.append(k["mmap"]) or load(*a, **k))
    monkeypatch.setattr(files, "REMAP_BYTES", 10_000)
    convert(folder, tmp_path / "out")
    size = sum(t.nbytes for t in weights(random_llama()).values())
    assert all(loads)
    assert size // 30_000 <= len(loads) <= 2 + size // 10_000
