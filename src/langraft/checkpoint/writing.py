"""Model folders written tensor by tensor: sharded safetensors, hashed on the way, complete or not
there at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import torch

from langraft.checkpoint.digest import Records, combined, raw_bytes, record
from langraft.checkpoint.files import DTYPES
from langraft.checkpoint.stream import StoredTensor, require_finite
from langraft.core.errors import BadInput, RunFailed
from langraft.core.hardware import versions
from langraft.core.io import PARTIAL, disk_errors, remove, write_json
from langraft.core.messages import bar

SHARD_BYTES = 5_000_000_000
CODES = {dtype: code for code, dtype in DTYPES.items()}
NOTE = "langraft.json"
WORKERS = 4
KEPT_BYTES = 24 << 20


def write_weights(
    folder: Path,
    tensors: Sequence[StoredTensor],
    *,
    stem: str = "model",
    shard_bytes: int = SHARD_BYTES,
    title: str = "write",
    hashed: bool = True,
) -> Records:
    """Write `tensors` to `folder` as `stem.safetensors`, or as shards with an index.

    Args:
        shard_bytes: a shard ends before the tensor that would make it larger.
        title: what the progress bar says.
        hashed: hash on the way, which takes about as long as a plain copy.

    Returns:
        Each tensor's record (dtype, shape, sha256), as `langraft.checkpoint.digest` gives it;
        nothing when not `hashed`.

    Raises:
        BadInput: a tensor holds NaN or infinite values.
        RunFailed: the disk is full or not writable.
    """
    groups = _shards(tensors, shard_bytes)
    records: Records = {}
    places: dict[str, str] = {}
    with disk_errors(folder), bar("MB") as progress, _workers() as workers:
        total = sum(tensor.nbytes for tensor in tensors) // 1_000_000
        task = progress.add_task(title, total=total, note="")
        for number, group in enumerate(groups, 1):
            several = f"{stem}-{number:05d}-of-{len(groups):05d}.safetensors"
            name = several if len(groups) > 1 else f"{stem}.safetensors"
            with (folder / name).open("wb") as stream:
                begun = [
                    (tensor, workers.submit(_write, tensor, stream, place, hashed))
                    for tensor, place in _places(group, stream, {})
                ]
                for tensor, sha in begun:
                    records[tensor.name] = record(tensor, sha.result())
                    places[tensor.name] = name
                    progress.update(task, advance=tensor.nbytes / 1e6, note=name)
                os.fsync(stream.fileno())
    if len(groups) > 1:
        size = sum(tensor.nbytes for tensor in tensors)
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
        write_json(folder / f"{stem}.safetensors.index.json", index)
    return records if hashed else {}


def _shards(tensors: Sequence[StoredTensor], limit: int) -> list[list[StoredTensor]]:
    groups: list[list[StoredTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.nbytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.nbytes
    # wide types first, so that every tensor begins at a multiple of its own width
    return [sorted(group, key=lambda tensor: -tensor.dtype.itemsize) for group in groups]


def write_file(
    path: Path, tensors: Sequence[StoredTensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write one safetensors file in this thread, block by block: nothing is held beside the
    tensors, where safetensors' own `save` makes the file as one string of bytes, twice.

    The values are written as they are, NaN too; nothing is hashed, nor flushed to the disk.

    Args:
        metadata: stands in the file's header.

    Raises:
        OSError: the disk refuses.
    """
    ordered = _shards(tensors, sum(tensor.nbytes for tensor in tensors))[0]
    with path.open("wb") as stream:
        for tensor, _ in _places(ordered, stream, metadata or {}):
            for block in tensor.blocks():
                stream.write(memoryview(raw_bytes(block)))


def _header(tensors: Sequence[StoredTensor], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.nbytes],
        }
        end += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _places(
    group: Sequence[StoredTensor], stream: BinaryIO, metadata: Mapping[str, str]
) -> list[tuple[StoredTensor, int]]:
    """Write the header of a file of these tensors, claim its room, and say where each begins."""
    header = _header(group, metadata)
    stream.write(header)
    stream.flush()
    ends = [len(header), *(tensor.nbytes for tensor in group)]
    starts = list(itertools.accumulate(ends))
    if hasattr(os, "posix_fallocate"):  # a file that grows while it is written took ext4 5x as long
        os.posix_fallocate(stream.fileno(), 0, starts[-1])
    return list(zip(group, starts, strict=False))


@contextlib.contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Threads that each read, compute, hash and write a tensor of their own, on one core each; when
    one fails, those that have not begun never do.
    """
    cores = torch.get_num_threads()
    # glibc gives blocks of megabytes back to the system and fetches them anew, a page fault for
    # every 4 KB; it learns from this one, freed at once, to keep what is smaller (mallopt(3)).
    torch.empty(KEPT_BYTES, dtype=torch.uint8)
    workers = ThreadPoolExecutor(
        min(WORKERS, cores), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # what a thread sets is what later threads begin with


def _write(tensor: StoredTensor, stream: BinaryIO, place: int, hashed: bool) -> str:
    """Write one tensor to its place in a file; the sha256 of its bytes when `hashed`."""
    sha = hashlib.sha256()
    for block in tensor.blocks():
        require_finite(tensor.name, block, Path(stream.name).name)
        content = memoryview(raw_bytes(block))
        if hashed:
            sha.update(content)
        while content:
            written = os.pwrite(stream.fileno(), content, place)
            content, place = content[written:], place + written
    return sha.hexdigest()


@contextlib.contextmanager
def new_folder(out: Path, needed: int = 0) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends well and is removed when it raises.

    Args:
        needed: bytes that will be written.

    Raises:
        BadInput: `out` is there already.
        RunFailed: the disk has no room for `needed` bytes, or refuses to be written.
    """
    require_new(out)
    partial = out.with_name(out.name + PARTIAL)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        free = shutil.disk_usage(out.parent).free
        if needed > free:
            raise RunFailed(
                f"{out}: {needed / 1e9:.2f} GB are to be written and {free / 1e9:.2f} GB are free; "
                "free some space or choose another folder with --out"
            )
        partial.mkdir()
        try:
            yield partial
            remove(out)
            partial.rename(out)
        except BaseException:  # whatever happened, nothing half-written stays
            remove(partial)
            raise


def require_new(out: Path) -> None:
    """Refuse to write over something.

    Raises:
        BadInput: `out` is a file or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: exists already; choose another folder with --out, or remove it")


def write_checkpoint(
    out: Path,
    tensors: Sequence[StoredTensor],
    *,
    config: Mapping[str, Any],
    files: Mapping[str, Path],
    made: Mapping[str, Any],
    shard_bytes: int = SHARD_BYTES,
    hashed: bool = True,
    finish: Callable[[Path, Records], None] | None = None,
) -> dict[str, Any]:
    """Write a whole model folder, complete or not at all.

    Args:
        config: the content of `config.json`.
        files: other files by the name they get, such as the tokenizer's.
        made: how it was made; goes into `langraft.json`.
        hashed: also record the digest of the weights there.
        finish: called with the whole folder, before it gets its name, and the tensors' records;
            what it raises removes the folder.

    Returns:
        The content of `langraft.json`.

    Raises:
        BadInput: `out` exists, or a tensor holds NaN or infinite values.
        RunFailed: the disk is full or not writable.
    """
    with new_folder(out, sum(tensor.nbytes for tensor in tensors)) as partial:
        records = write_weights(
            partial, tensors, shard_bytes=shard_bytes, title=f"write {out.name}", hashed=hashed
        )
        for name, source in files.items():
            shutil.copyfile(source, partial / name)
        write_json(partial / "config.json", dict(config))
        note = {"made": dict(made), "langraft": versions()["langraft"]}
        if hashed:
            note["weights"] = combined(records)
        write_json(partial / NOTE, note)
        if finish is not None:
            finish(partial, records)
    return note
