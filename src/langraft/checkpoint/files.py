"""Files of tensors opened without being read: safetensors, and what `torch.save` wrote.

Pickled files are read through torch's `weights_only` unpickler and memory mapping.
"""

from __future__ import annotations

import json
import math
import pickle
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from langraft.checkpoint.stream import Rows, StoredTensor
from langraft.core.errors import BadInput

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
