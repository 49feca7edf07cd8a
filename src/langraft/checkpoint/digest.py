"""What weights are, whatever files they are in: one sha256 a tensor, and one over all of them.

Shards, file formats and the order of tensors do not change it; a single bit of a weight does. Two
digests that differ are told apart tensor by tensor.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langraft.checkpoint.reading import Checkpoint
from langraft.checkpoint.stream import StoredTensor, require_finite
from langraft.core.io import sha256_json
from langraft.core.messages import bar

Records = dict[str, str]


def raw_bytes(block: Tensor) -> Any:
    """The bytes of a block as they stand on disk (little-endian, row by row), as a buffer."""
    return block.contiguous().reshape(-1).view(torch.uint8).numpy()


def record(tensor: StoredTensor, sha256: str) -> str:
    """What a tensor is: dtype, shape and the sha256 of its bytes, in one line."""
    shape = "x".join(str(size) for size in tensor.shape)
    return f"{str(tensor.dtype).removeprefix('torch.')} {shape} {sha256}"


def combined(records: Mapping[str, str]) -> str:
    """One sha256 over all tensors."""
    return sha256_json(dict(records))


def tensor_record(tensor: StoredTensor, where: object) -> str:
    """Read a tensor and say what it is.

    Raises:
        BadInput: it holds NaN or infinite values.
    """
    sha = hashlib.sha256()
    for block in tensor.blocks():
        require_finite(tensor.name, block, where)
        sha.update(raw_bytes(block))
    return record(tensor, sha.hexdigest())


def read_records(checkpoint: Checkpoint, title: str) -> Records:
    """Read every tensor of a checkpoint and say what each is.

    Raises:
        BadInput: one holds NaN or infinite values.
    """
    found: Records = {}
    with bar("tensors") as progress:
        task = progress.add_task(title, total=len(checkpoint.tensors), note="")
        for name, tensor in checkpoint.tensors.items():
            found[name] = tensor_record(tensor, checkpoint.folder)
            progress.advance(task)
    return found


def weights_digest(checkpoint: Checkpoint) -> str:
    """The digest of a checkpoint, read tensor by tensor."""
    return combined(read_records(checkpoint, f"hash {checkpoint.folder.name}"))


@dataclasses.dataclass
class Witness:
    """Hashes tensors while somebody else reads them, so that a base is checked in the one pass that
    uses it.
    """

    where: Path
    records: Records = dataclasses.field(default_factory=dict)
    seen: dict[str, StoredTensor] = dataclasses.field(default_factory=dict)

    def watch(self, tensors: Iterable[StoredTensor]) -> list[StoredTensor]:
        """The same tensors; a full pass over one's rows leaves its record here."""
        return [self._watched(tensor) for tensor in tensors]

    def _watched(self, tensor: StoredTensor) -> StoredTensor:
        self.seen[tensor.name] = tensor
        sha, position, lock = hashlib.sha256(), 0, threading.Lock()

        def rows(start: int, stop: int) -> Tensor:
            nonlocal position
            block = tensor.rows(start, stop).to(tensor.dtype)
            with lock:  # two tensors may be made of this one, by two threads
                if start == position and tensor.name not in self.records:
                    sha.update(raw_bytes(block))
                    position = stop
                    if stop == tensor.height:
                        self.records[tensor.name] = record(tensor, sha.hexdigest())
            return block

        return dataclasses.replace(tensor, rows=rows)

    def digest(self) -> str:
        """The digest of all watched tensors; those nobody has read are read now."""
        for name, tensor in self.seen.items():
            if name not in self.records:
                self.records[name] = tensor_record(tensor, self.where)
        return combined(self.records)
