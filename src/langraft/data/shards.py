"""Tokenised shards: one flat array of token ids and one of document offsets for each part of a
source, memory-mapped on reading, whatever their size.
"""

from __future__ import annotations

import dataclasses
import itertools
import mmap
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langraft.core.errors import BadInput
from langraft.core.io import PARTIAL, disk_errors, remove
from langraft.tokenizer.dropout import Dropout
from langraft.tokenizer.encoder import load_encoder

TOKENS = "tokens.npy"
OFFSETS = "offsets.npy"
DONE = "parts"
HIGHEST = "highest"
PART_CHARACTERS = 8_000_000  # of text in one part: seconds of work, so a kill loses little
Encode = Callable[[list[str]], list[list[int]]]


@dataclasses.dataclass(frozen=True)
class Frame:
    """The special tokens around each document: `start` before it (also what its first token is
    predicted from), `end` after.
    """

    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Spelling:
    """What turns texts into ids.

    Attributes:
        tokenizer: what `load_encoder` reads.
        base: the tokenizer that it was made from, where merges are left out at random.
        dropout: probability of leaving out an added merge at one step (BPE-dropout).
        seed: of what is left out.
    """

    tokenizer: Path
    base: Path | None = None
    dropout: float = 0.0
    seed: int = 0

    def encode(self) -> Callable[[int], Encode]:
        """For the number of a part, what encodes its texts."""
        encoder = load_encoder(self.tokenizer)
        if not self.dropout or self.base is None:
            return lambda number: encoder.encode_batch
        dropout = Dropout(load_encoder(self.base), encoder, self.dropout)

        def of(number: int) -> Encode:
            stream = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
            return lambda texts: dropout.encode_batch(texts, stream)

        return of


@dataclasses.dataclass(frozen=True)
class Shard:
    """Documents of one source as token ids.

    Attributes:
        tokens: ids of all documents, framed, one after the other, shape (tokens,).
        offsets: where each document starts, and the end of the last, shape (documents + 1,).
    """

    tokens: NDArray[np.uint32]
    offsets: NDArray[np.int64]

    @property
    def documents(self) -> int:
        """How many documents the shard holds."""
        return len(self.offsets) - 1


def write_shard(folder: Path, texts: Iterable[str], encode: Encode, frame: Frame) -> Shard:
    """Tokenise `texts` into `folder` and return the shard; `encode` must add no special tokens.

    Raises:
        BadInput: there is no text.
    """
    encoded = encode(list(texts))
    if not encoded:
        raise BadInput(f"{folder.name}: no documents to tokenise")
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(ids) + 2 for ids in encoded], out=offsets[1:])
    tokens = np.empty(int(offsets[-1]), dtype=np.uint32)
    for ids, start, end in zip(encoded, offsets[:-1], offsets[1:], strict=True):
        tokens[start], tokens[end - 1] = frame.start, frame.end
        tokens[start + 1 : end - 1] = ids
    partial = folder.with_name(folder.name + PARTIAL)
    with disk_errors(folder):
        remove(partial)
        partial.mkdir(parents=True)
        np.save(partial / TOKENS, tokens)
        np.save(partial / OFFSETS, offsets)
        (partial / HIGHEST).write_text(str(int(tokens.max())))
        partial.rename(folder)
    return Shard(tokens, offsets)


def read_shard(folder: Path) -> Shard:
    """Memory-map a shard that `write_shard` wrote.

    Documents are read in a shuffled order, so the system is told not to read ahead: otherwise every
    short document would cost the reading of 128 kB around it.
    """
    tokens = np.load(folder / TOKENS, mmap_mode="r", allow_pickle=False)
    if hasattr(mmap, "MADV_RANDOM"):
        tokens._mmap.madvise(mmap.MADV_RANDOM)
    return Shard(tokens, np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False))


def read_source(folder: Path) -> list[Shard]:
    """The parts of a source that `tokenise` wrote, in order."""
    count = int((folder / DONE).read_text())
    return [read_shard(folder / f"{number:05d}") for number in range(count)]


def require_rows(folder: Path, rows: int) -> None:
    """See that every id of a source has a row in a model with `rows` of them.

    Raises:
        BadInput: it was tokenised with another vocabulary.
    """
    count = int((folder / DONE).read_text())
    highest = max(int((folder / f"{n:05d}" / HIGHEST).read_text()) for n in range(count))
    if highest >= rows:
        raise BadInput(
            f"{folder}: holds ids up to {highest}, but the model has {rows} rows: it was tokenised "
            "with another vocabulary. Delete that folder, so that it is made anew"
        )


def tokenise(
    folder: Path, texts: Iterable[str], spelling: Spelling, frame: Frame, workers: int | None = None
) -> list[Shard]:
    """Tokenise one source into `folder`, once: what an earlier call finished is only read.

    Texts are dealt out in parts of about `PART_CHARACTERS`, each written by one process under its
    own name. A killed call keeps its finished parts. The result does not depend on the number of
    workers.

    Raises:
        BadInput: there is no text.
    """
    if (folder / DONE).exists():
        return read_source(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    parts = enumerate(_parts(texts))
    ahead = list(itertools.islice(parts, 2))
    if len(ahead) < 2:
        for number, part in ahead:
            _write_part(folder / f"{number:05d}", part, spelling.encode()(number), frame)
        count = len(ahead)
    else:
        count = _in_processes(folder, itertools.chain(ahead, parts), spelling, frame, workers)
    if not count:
        raise BadInput(f"{folder.name}: no documents to tokenise")
    (folder / DONE).write_text(str(count))
    return read_source(folder)


def _in_processes(
    folder: Path,
    parts: Iterable[tuple[int, list[str]]],
    spelling: Spelling,
    frame: Frame,
    workers: int | None,
) -> int:
    """Write every part; at most two wait for each process, so that memory stays bounded."""
    workers = workers or len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    pending: deque[Future[None]] = deque()
    count = 0
    with ProcessPoolExecutor(workers, context, _prepare, (spelling, frame)) as pool:
        for number, part in parts:
            count += 1
            place = folder / f"{number:05d}"
            if place.exists():
                continue
            pending.append(pool.submit(_work, place, part))
            if len(pending) > 2 * workers:
                pending.popleft().result()
        for future in pending:
            future.result()
    return count


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for text in texts:
        part.append(text)
        size += len(text)
        if size >= PART_CHARACTERS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _write_part(folder: Path, part: list[str], encode: Encode, frame: Frame) -> None:
    if not folder.exists():
        write_shard(folder, part, encode, frame)


_worker: dict[str, tuple[Callable[[int], Encode], Frame]] = {}


def _prepare(spelling: Spelling, frame: Frame) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process a core is enough
    _worker["own"] = (spelling.encode(), frame)


def _work(folder: Path, part: list[str]) -> None:
    encode, frame = _worker["own"]
    _write_part(folder, part, encode(int(folder.name)), frame)
