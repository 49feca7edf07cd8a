"""Checkpoints: torch's distributed checkpoint, written to safetensors by a thread while training
goes on, complete or not there at all.

On a processor the thread writes weights and moments from where they lie, while the next step's
gradients are computed; only the update waits for it (`Checkpoints.release`). A copy of them would
be half as large again as all that training holds, and take as long as the writing. A GPU's are
copied to the host first.

`FOLDER/checkpoint/step-00000012/` holds what learns and its moments (each rank writes its shards),
and `state.json`: step, position in the data, meter, guard. Any number of ranks reads what any other
number wrote. Nothing is pickled: torch's own file format for checkpoints is, so its safetensors
writer is used.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial as partial_call
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint._hf_utils import CUSTOM_METADATA_KEY, SAVED_OFFSETS_KEY
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future as TorchFuture

from langraft.checkpoint.stream import in_memory
from langraft.checkpoint.writing import write_file
from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import PARTIAL, disk_errors, read_json, remove, write_json
from langraft.train.optim import Optimiser
from langraft.train.ranks import ALONE, Ranks

CHECKPOINT = "checkpoint"
STATE = "state.json"
NAME = re.compile(r"step-(\d{8})(-keep)?")


@dataclasses.dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the `last` ones, and for ever those of every `every` steps and those
    written at a boundary.
    """

    last: int = 2
    every: int | None = None


def complete(folder: Path) -> list[Path]:
    """The finished checkpoints below `folder`, oldest first."""
    places = (folder / CHECKPOINT).glob("step-*")
    found = [p for p in places if NAME.fullmatch(p.name) and (p / STATE).exists()]
    return sorted(found, key=lambda place: place.name)


class _Writer(HuggingFaceStorageWriter):
    """torch's writer of safetensors, block by block: its own makes two more copies of everything
    before the first byte is written. What it reads back is the same.

    `read` is called when the tensors have been read and may change; the disk may still be busy.
    """

    def __init__(self, folder: Path, read: Callable[[], None] = lambda: None) -> None:
        super().__init__(str(folder), save_distributed=True)
        self._read = read

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
        """Write this rank's part of the plan."""
        place = Path(self.path) / f"shard-{plan.storage_data['shard_index']:05d}.safetensors"
        tensors, offsets = [], {}
        for item in plan.items:
            name, found = item.index.fqn, planner.resolve_data(item)
            assert isinstance(found, Tensor) and item.tensor_data is not None, name
            tensors.append(in_memory(name, found.detach().cpu()))
            offsets[name] = {SAVED_OFFSETS_KEY: list(item.tensor_data.chunk.offsets)}
        write_file(place, tensors, {CUSTOM_METADATA_KEY: json.dumps(offsets)})
        self._read()
        with place.open("rb") as stream:
            os.fsync(stream.fileno())
        written: TorchFuture[list[WriteResult]] = TorchFuture()
        written.set_result([])  # the files' headers say what is where; nothing else asks
        return written


class Checkpoints:
    """Writes and reads the checkpoints of one loop."""

    def __init__(
        self, learner: Optimiser, folder: Path, ranks: Ranks = ALONE, keep: Keep | None = None
    ) -> None:
        self._learner = learner
        self._folder = folder
        self._ranks = ranks
        self._keep = keep or Keep()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._free = threading.Event()
        self._free.set()

    def save(self, state: dict[str, Any], *, stay: bool = False) -> None:
        """Begin to write a checkpoint of `state["step"]`: neither weights nor moments may change
        before `release`. One that is still being written is finished first.

        Raises:
            RunFailed: the disk refused an earlier one.
        """
        self.finish()
        step = int(state["step"])
        kept = stay or (self._keep.every is not None and step % self._keep.every == 0)
        final = self._folder / CHECKPOINT / f"step-{step:08d}{'-keep' if kept else ''}"
        partial = final.with_name(final.name + PARTIAL)
        if self._ranks.lead:
            with disk_errors(partial):
                remove(partial)
                partial.mkdir(parents=True)
        self._ranks.wait()
        state = state | {"updates": self._learner.counts(), "factor": self._learner.factor}
        self._pending = self._pool.submit(self._complete, self._write(partial), final, state)

    def release(self) -> None:
        """Return when weights and moments may change: what is being written has been read."""
        self._free.wait()

    def _write(self, partial: Path) -> Callable[[], object]:
        """What writes the tensors, or waits until copies that were made here are written."""
        tensors = _named(self._learner)
        if self._ranks.world > 1:
            writer = _Writer(partial)
            found = async_save(tensors, storage_writer=writer, process_group=self._ranks.files)
            assert isinstance(found, Future)
            return found.result
        here = {name: _plain(tensor).cpu() for name, tensor in tensors.items()}
        if any(_plain(tensor).is_cpu for tensor in tensors.values()):
            self._free.clear()
        return partial_call(_save_alone, here, _Writer(partial, self._free.set))

    def _complete(self, write: Callable[[], object], final: Path, state: dict[str, Any]) -> None:
        """Give the checkpoint its state and its name, and remove those that need not stay.

        The lead's part of torch's writing ends last, after it has heard from all ranks.
        """
        partial = final.with_name(final.name + PARTIAL)
        with disk_errors(partial):
            try:
                write()
            except CheckpointException as error:
                raise _cause(error) from error
            finally:
                self._free.set()
            if self._ranks.lead:
                write_json(partial / STATE, state)
                remove(final)
                partial.rename(final)
                passing = [p for p in complete(self._folder) if not p.name.endswith("-keep")]
                for old in passing[: -self._keep.last]:
                    remove(old)

    def finish(self) -> None:
        """Wait until the checkpoint that is being written is complete.

        Raises:
            RunFailed: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
        self._ranks.wait()

    def load(self, back: int = 0) -> dict[str, Any] | None:
        """Put the learner back where the newest checkpoint is, or the one `back` before it.

        Returns:
            what `save` was given; None when there is none.

        Raises:
            BadInput: it holds other parameters or other shapes; the message names one.
        """
        found = complete(self._folder)
        if len(found) <= back:
            return None
        place = found[-1 - back]
        state = dict(read_json(place / STATE))
        read_learner(self._learner, place, state, self._ranks)
        return state

    def close(self) -> None:
        """Finish, and stop the thread."""
        try:
            self.finish()
        finally:
            self._pool.shutdown()


def read_learner(
    learner: Optimiser, place: Path, state: dict[str, Any], ranks: Ranks = ALONE
) -> None:
    """Read weights and moments of the checkpoint in `place` into `learner`.

    Raises:
        BadInput: it holds other parameters or other shapes.
    """
    learner.forget()
    moments = {f"moments/{n}": t for n, t in learner.blank(list(state["updates"])).items()}
    weights = {f"weights/{n}": p.detach() for n, p in learner.parameters.items()}
    reader = HuggingFaceStorageReader(str(place))
    _check(reader, place, weights | moments)
    into = (
        weights | moments
        if ranks.mesh is not None
        else {name: _plain(tensor) for name, tensor in (weights | moments).items()}
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load_distributed(
            into, storage_reader=reader, process_group=ranks.files, no_dist=ranks.mesh is None
        )
    learner.load({n.removeprefix("moments/"): t for n, t in moments.items()}, state["updates"])
    learner.factor = float(state["factor"])


def _check(reader: HuggingFaceStorageReader, place: Path, wanted: dict[str, Tensor]) -> None:
    held = reader.read_metadata().state_dict_metadata
    for name, tensor in wanted.items():
        size = getattr(held.get(name), "size", None)
        if size is None or tuple(size) != tuple(tensor.shape):
            there = "is not there" if size is None else f"has the shape {tuple(size)}"
            raise BadInput(
                f"{place}: the checkpoint is of another model or another `train`: "
                f"{name} {there}, {tuple(tensor.shape)} is needed. Set the recipe back, or start "
                "afresh with --fresh"
            )


def read_weights(place: Path) -> dict[str, Tensor]:
    """What had learnt at the checkpoint in `place`, by name, whole and on the CPU."""
    reader = HuggingFaceStorageReader(str(place))
    held = reader.read_metadata().state_dict_metadata
    found = {
        name: torch.empty(meta.size, dtype=meta.properties.dtype)  # type: ignore[union-attr]
        for name, meta in held.items()
        if name.startswith("weights/")
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load_distributed(found, storage_reader=reader, no_dist=True)
    return {name.removeprefix("weights/"): tensor for name, tensor in found.items()}


def drop_checkpoint(folder: Path) -> None:
    """Remove what a finished loop left, once its result is safe elsewhere."""
    remove(folder / CHECKPOINT)


def _named(learner: Optimiser) -> dict[str, Tensor]:
    weights = {f"weights/{n}": p.detach() for n, p in learner.parameters.items()}
    return weights | {f"moments/{n}": t for n, t in learner.tensors().items()}


def _plain(tensor: Tensor) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _save_alone(tensors: dict[str, Tensor], writer: HuggingFaceStorageWriter) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        save_distributed(tensors, storage_writer=writer, no_dist=True)


def _cause(error: CheckpointException) -> BaseException:
    """The operating system's own error behind torch's, when there is one."""
    causes = [failure[0] for failure in error.failures.values()]
    if any("os error 28" in str(cause) or "File too large" in str(cause) for cause in causes):
        return OSError(errno.ENOSPC, "no space left")
    found = next((cause for cause in causes if isinstance(cause, OSError)), None)
    return found or RunFailed(f"the checkpoint could not be written: {causes[0]}")
