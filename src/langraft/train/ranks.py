"""The processes that train together: who is who, sums over all, and who hangs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from langraft.core.errors import BadInput
from langraft.core.io import write_atomic

BEATS = "ranks"
NOBODY = "no rank is behind"
GRACE_SECONDS = 10.0  # a rank that is behind itself ends later than those that can name it
PATIENCE = datetime.timedelta(hours=6)  # collectives wait; the watch below reports what hangs


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone it is rank 0 of 1.

    Attributes:
        mesh: the devices to shard over, ("copy", "shard") or ("shard",); None: nothing is sharded.
        files: a group of its own for checkpoints, so that writing one never waits in the queue of
            the training's own collectives.
    """

    rank: int = 0
    world: int = 1
    mesh: DeviceMesh | None = None
    files: Any = None

    @property
    def lead(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    def total(self, values: Tensor) -> list[float]:
        """The sum of `values` over all ranks, the same bits on each; shape (n,), float64."""
        if self.world > 1:
            dist.all_reduce(values)
        return [float(value) for value in values.tolist()]

    def together(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of `values` over all ranks, the same bits on each; any shape."""
        if self.world == 1:
            return values
        found = torch.as_tensor(np.ascontiguousarray(values, np.float64))
        dist.all_reduce(found, group=self.files)  # a group of the CPU's
        return found.numpy()

    def share_of(self, items: Sequence[Any]) -> Sequence[Any]:
        """This rank's contiguous part of `items`, whose number is a multiple of the world size."""
        each = len(items) // self.world
        return items[self.rank * each : (self.rank + 1) * each]

    def agree(self, names: Sequence[str]) -> list[str]:
        """What the lead says, on every rank."""
        if self.world == 1:
            return list(names)
        said = json.dumps(list(names)).encode()
        size = int(self.total(torch.tensor([len(said) if self.lead else 0.0]).double())[0])
        letters = torch.zeros(size, dtype=torch.float64)
        if self.lead:
            letters += torch.tensor(list(said), dtype=torch.float64)
        return list(json.loads(bytes(int(letter) for letter in self.total(letters)).decode()))

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.world > 1:
            dist.barrier()


ALONE = Ranks()


def join_ranks(device: str, shard_group: int | None = None) -> Ranks:
    """The ranks that `torchrun` started, or this process alone.

    A single GPU gets a mesh of one, so that one device and many take the same path: float32
    weights, computing in bfloat16 copies of one block at a time.

    Raises:
        BadInput: `shard_group` does not divide the number of ranks.
    """
    launched = "RANK" in os.environ
    if not launched and device == "cpu":
        return ALONE
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    if launched:
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group(backend, timeout=PATIENCE)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    world = dist.get_world_size()
    group = shard_group or world
    if world % group:
        raise BadInput(f"hardware.shard_group: {group} does not divide the {world} ranks")
    shape, names = ((world // group, group), ("copy", "shard"))
    if group == world:
        shape, names = (world,), ("shard",)  # type: ignore[assignment]
    mesh = init_device_mesh(device, shape, mesh_dim_names=names)
    return Ranks(dist.get_rank(), world, mesh, dist.new_group(backend="gloo", timeout=PATIENCE))


def leave_ranks(ranks: Ranks) -> None:
    """End the process group, if there is one."""
    if ranks.mesh is not None and dist.is_initialized():
        dist.destroy_process_group()


class Watch:
    """Every rank writes down the last step it finished; when this one waits too long in a step, it
    names the ranks that are behind and ends the process, so that the launcher ends the others.
    """

    def __init__(self, ranks: Ranks, folder: Path, seconds: float) -> None:
        self._ranks = ranks
        self._folder = folder / BEATS
        self._seconds = seconds
        self._last = time.monotonic()
        self._step = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")

    def __enter__(self) -> Watch:
        if self._ranks.world > 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.beat(0)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def beat(self, step: int) -> None:
        """This rank has finished `step`."""
        self._last, self._step = time.monotonic(), step
        if self._ranks.world > 1:
            line = {"host": socket.gethostname(), "pid": os.getpid(), "step": step}
            write_atomic(self._folder / f"{self._ranks.rank:05d}.json", json.dumps(line))

    def behind(self) -> str:
        """The other ranks that have not got as far as this one or whose process is gone, with
        their hosts and last steps, or `NOBODY`.
        """
        found = []
        for rank in range(self._ranks.world):
            path = self._folder / f"{rank:05d}.json"
            seen = json.loads(path.read_text()) if path.exists() else None
            if rank == self._ranks.rank:
                continue
            if seen is None:
                found.append(f"rank {rank} has not begun")
            elif _gone(seen):
                found.append(
                    f"rank {rank} ({seen['host']}, pid {seen['pid']}) is dead, "
                    f"last finished step {seen['step']}"
                )
            elif seen["step"] <= self._step:
                found.append(
                    f"rank {rank} ({seen['host']}, pid {seen['pid']}) is alive, "
                    f"last finished step {seen['step']}"
                )
        return "; ".join(found) or NOBODY

    def _run(self) -> None:
        while not self._stop.wait(min(1.0, self._seconds / 4)):
            waited = time.monotonic() - self._last
            if waited <= self._seconds:
                continue
            behind = self.behind()
            if behind != NOBODY or waited > self._seconds + GRACE_SECONDS:
                sys.stderr.write(
                    f"error: rank {self._ranks.rank} waits since {waited:.0f} s in step "
                    f"{self._step + 1}: {behind}. Start the same command "
                    "again: it goes on from the last checkpoint\n"
                )
                sys.stderr.flush()
                os._exit(1)


def lost_peer(error: RuntimeError, ranks: Ranks) -> bool:
    """Whether an error of a collective says that another process is no longer there."""
    words = ("gloo", "NCCL", "ncclRemoteError", "Connection closed", "Connection reset")
    return ranks.world > 1 and (
        isinstance(error, dist.DistError) or any(word in str(error) for word in words)
    )


def _gone(seen: dict[str, Any]) -> bool:
    """Whether a process of this host is dead or a zombie; of another host nothing is known."""
    if seen["host"] != socket.gethostname():
        return False
    try:
        stat = Path(f"/proc/{seen['pid']}/stat").read_text()
    except FileNotFoundError:
        return Path("/proc").is_dir()
    return stat.rpartition(")")[2].split()[0] in "ZX"
