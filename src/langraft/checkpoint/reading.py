"""Model folders read tensor by tensor: safetensors, `pytorch_model*.bin`, Meta's
`consolidated.*.pth`.

Only headers are read when a folder is opened, and everything that can be wrong with them is found
there. Pickled files are read through torch's `weights_only` unpickler and memory mapping.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langraft.checkpoint.stream import Rows, StoredTensor
from langraft.core.errors import BadInput
from langraft.core.io import read_json

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
LONGEST_HEADER = 100_000_000  # the limit of the safetensors library itself
REMAP_BYTES = 256 << 20
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.(?:safetensors|bin)$")
# In the order in which transformers looks for them: (one file, index of many, pattern of many).
LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The weights of one folder, unread.

    Attributes:
        folder: where they are.
        tensors: by name, in the order of the files.
        files: the weight files, in order.
        config: the content of `config.json`.
        index: the content of the index file, empty when there is none.
    """

    folder: Path
    tensors: dict[str, StoredTensor]
    files: tuple[Path, ...]
    config: dict[str, Any]
    index: dict[str, Any] = dataclasses.field(default_factory=dict)


def open_checkpoint(folder: Path, *, needs_config: bool = True) -> Checkpoint:
    """Open the weights of a model folder without reading them.

    Args:
        needs_config: False for folders that hold tensors but no model, such as a delta.

    Raises:
        BadInput: no weights, a truncated or damaged file, a missing shard, an index that does not
            say what the files hold, or no `config.json`.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    if any(folder.glob("consolidated.*.pth")):
        from langraft.checkpoint.meta import open_meta

        return open_meta(folder)
    has_config = (folder / "config.json").exists()
    if needs_config and not has_config:
        raise BadInput(
            f"{folder}: no config.json, so this is not a model folder{_what_it_is(folder)}"
        )
    config = dict(read_json(folder / "config.json")) if has_config else {}
    for single, index, pattern in LAYOUTS:
        if (folder / single).exists():
            tensors = open_file(folder / single)
            return Checkpoint(folder, tensors, (folder / single,), config)
        if (folder / index).exists():
            return _indexed(folder, index, config)
        if found := sorted(folder.glob(pattern)):
            return _numbered(folder, found, config)
    raise BadInput(
        f"{folder}: no weights (looked for {', '.join(layout[0] for layout in LAYOUTS)}, their "
        f"sharded forms and consolidated.*.pth){_what_it_is(folder)}"
    )


def _what_it_is(folder: Path) -> str:
    if (folder / "adapter_config.json").exists():
        return "; it is an adapter: `langraft checkpoint merge` makes a model of it"
    if (folder / "delta.json").exists():
        return "; it is a delta: `langraft checkpoint delta-apply` makes a model of it"
    return ""


def _indexed(folder: Path, index_name: str, config: dict[str, Any]) -> Checkpoint:
    path = folder / index_name
    index = read_json(path)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places:
        raise BadInput(f"{path}: no `weight_map`, so it names no shard")
    for name in sorted(set(places.values())):
        if Path(name).name != name or not (folder / name).exists():
            raise BadInput(
                f"{path}: shard {name!r} is missing from the folder; fetch the model again"
            )
    files = tuple(folder / name for name in sorted(set(places.values())))
    tensors = _united(files)
    for name, place in places.items():
        if name not in tensors or tensors[name][0].name != place:
            raise BadInput(
                f"{path}: says that {place} holds {name!r}, and it does not; index and shards "
                "belong to different models"
            )
    for name, (file, _) in tensors.items():
        if name not in places:
            raise BadInput(
                f"{path}: does not list {name!r}, which {file.name} holds; index and shards "
                "belong to different models"
            )
    return Checkpoint(folder, {n: t for n, (_, t) in tensors.items()}, files, config, dict(index))


def _numbered(folder: Path, files: list[Path], config: dict[str, Any]) -> Checkpoint:
    """Shards without an index: complete when the numbers in their names are."""
    numbers = [SHARD.search(file.name) for file in files]
    totals = {int(number[2]) for number in numbers if number}
    here = {int(number[1]) for number in numbers if number}
    if len(totals) != 1 or None in numbers or here != set(range(1, max(totals) + 1)):
        lacking = sorted(set(range(1, max(totals, default=0) + 1)) - here)
        raise BadInput(
            f"{folder}: no index, and shard number {lacking[:1] or '?'} of {sorted(totals)} is "
            "missing; fetch the model again"
        )
    tensors = {name: tensor for name, (_, tensor) in _united(tuple(files)).items()}
    return Checkpoint(folder, tensors, tuple(files), config)


def _united(files: tuple[Path, ...]) -> dict[str, tuple[Path, StoredTensor]]:
    found: dict[str, tuple[Path, StoredTensor]] = {}
    for file in files:
        for name, tensor in open_file(file).items():
            if name in found:
                raise BadInput(f"{file}: tensor {name!r} is in {found[name][0].name} too")
            found[name] = (file, tensor)
    return found


def open_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one `.safetensors`, `.bin`, `.pth` or `.pt` file, unread.

    Raises:
        BadInput: missing, truncated, damaged, or holding something other than tensors.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    return open_safetensors(path) if path.suffix == ".safetensors" else open_pickled(path)


def open_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file.

    Rows are read with plain reads, not through a memory map: what a map has touched counts as this
    process's memory.

    Raises:
        BadInput: the header or the file's length is wrong.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(LONGEST_HEADER, size - 8):
            raise BadInput(f"{path}: truncated or not a safetensors file; fetch it again")
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            entries = [
                (*item["data_offsets"], name, DTYPES[item["dtype"]], tuple(item["shape"]))
                for name, item in header.items()
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(f"{path}: its header is damaged ({error!r}); fetch it again") from error
    data, end = 8 + length, 0
    for start, stop, name, dtype, shape in sorted(entries, key=lambda entry: entry[:2]):
        if start != end or stop - start != math.prod(shape) * dtype.itemsize:
            raise BadInput(f"{path}: its header gives {name!r} an impossible place; fetch it again")
        end = stop
    if data + end != size:
        raise BadInput(
            f"{path}: truncated: its header promises {data + end:,} bytes and it has {size:,}; "
            "fetch it again"
        )
    return {
        name: StoredTensor(name, dtype, shape, _file_rows(path, data + start, dtype, shape))
        for start, _, name, dtype, shape in entries
    }


def _file_rows(path: Path, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Rows:
    tail = shape[1:]
    row_bytes = math.prod(tail) * dtype.itemsize

    def rows(start: int, stop: int) -> Tensor:
        block = torch.empty((stop - start, *tail), dtype=dtype)
        view = memoryview(block.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        got = 0
        with path.open("rb", buffering=0) as stream:
            stream.seek(offset + start * row_bytes)
            while got < block.nbytes and (count := stream.readinto(view[got:])):
                got += count
        if got < block.nbytes:
            raise BadInput(f"{path}: became shorter while it was read")
        return block

    return rows


def open_pickled(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file written by `torch.save`.

    Raises:
        BadInput: damaged, from before torch 1.6 (which cannot be mapped), or holding anything
            besides a flat dictionary of tensors.
    """
    mapped = _Mapped(path)
    return {
        name: StoredTensor(name, tensor.dtype, tuple(tensor.shape), mapped.rows_of(name))
        for name, tensor in mapped.state().items()
    }


class _Mapped:
    """A memory-mapped `torch.save` file, mapped anew after every REMAP_BYTES: pages that were read
    count as this process's memory until the map is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: Mapping[str, Tensor] | None = None
        self._touched = 0
        self._lock = threading.Lock()

    def state(self) -> Mapping[str, Tensor]:
        with self._lock:
            if self._state is None or self._touched > REMAP_BYTES:
                self._state, self._touched = None, 0
                self._state = self._map()
            return self._state

    def _map(self) -> Mapping[str, Tensor]:
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise BadInput(
                f"{self._path}: cannot be read without running code from it, or is truncated "
                f"({first}); fetch it again, or save it again as safetensors"
            ) from error
        if not isinstance(state, Mapping):
            raise BadInput(f"{self._path}: holds a {type(state).__name__}, not a state dict")
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise BadInput(
                    f"{self._path}: {name!r} is a {type(value).__name__}, not a tensor; only plain "
                    "state dicts are read"
                )
        return state

    def rows_of(self, name: str) -> Rows:
        def rows(start: int, stop: int) -> Tensor:
            tensor = self.state()[name]
            flat = tensor.reshape(1) if tensor.ndim == 0 else tensor
            block = flat[start:stop].clone(memory_format=torch.contiguous_format)
            self._touched += block.nbytes
            return block

        return rows
