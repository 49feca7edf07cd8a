"""All documents that went through the steps, as columns; their texts stay on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from langraft.corpus.account import SNIPPET
from langraft.corpus.kernels.copying import gather, room
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.plan import Plan, mapped

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass
class Documents:
    """N documents in the order they were read; about 110 bytes each.

    Attributes:
        parts: the shards' names.
        part, row: where each document lies: its shard's number, and its number there.
        start, size: where its text lies in the shard's bytes.
        source, file, line: where it came from.
        note, note_size: where the JSON lies that the steps noted of it.
        keys: (N, 2) halves of its 128-bit key.
        rank: its place in the order of keys.
        scores: its quality, 0 without a scorer.
        alive: whether it is still in.
        cluster, weight: how many near duplicates it stands for, and how often to see it.
        grade: its place in `choosing.GRADES`.
    """

    parts: list[str]
    part: npt.NDArray[np.int32]
    row: Numbers
    start: Numbers
    size: Numbers
    source: npt.NDArray[np.int16]
    file: npt.NDArray[np.int32]
    line: Numbers
    note: Numbers
    note_size: Numbers
    keys: npt.NDArray[np.uint64]
    rank: Numbers
    scores: npt.NDArray[np.float64]
    alive: Mask
    cluster: Numbers
    weight: Numbers
    grade: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.part)

    def of(self, source: int) -> Numbers:
        """The numbers of a source's documents that are in."""
        return np.flatnonzero(self.alive & (self.source == source))

    def places(
        self, names: Sequence[Sequence[str]], chosen: Sequence[int] | slice = slice(None)
    ) -> list[str]:
        """The file and line that documents came from; `names` are the files of every source."""
        columns = (self.source[chosen], self.file[chosen], self.line[chosen])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [f"{names[source][file]}:{line}" for source, file, line in rows]

    def hex_keys(self) -> list[bytes]:
        """The 128-bit key of every document in hexadecimal."""
        digits = self.keys.astype(">u8").tobytes().hex().encode()
        return [digits[place : place + 32] for place in range(0, len(digits), 32)]


def load(folder: Path, parts: Sequence[str]) -> Documents:
    """The columns of all shards in `folder`."""
    wanted = ("rows", "offsets", "notes", "files", "lines", "keys", "scores")
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    for name in parts:
        with np.load(folder / f"{name}.npz") as stored:
            for column, held in columns.items():
                held.append(stored[column])
    many = [len(files) for files in columns["files"]]
    part = np.repeat(np.arange(len(parts), dtype=np.int32), many)
    row = np.concatenate([np.arange(n) for n in many]) if many else np.zeros(0, int)
    keys = np.concatenate([np.empty((0, 2), np.uint64), *columns["keys"]])
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    sources = np.array([int(name.split("-")[0]) for name in parts], np.int16)
    ones = np.ones(len(part), np.int64)
    texts = list(zip(columns["offsets"], columns["rows"], strict=True))
    return Documents(
        list(parts),
        part,
        row.astype(np.int64),
        _joined([ends[rows] for ends, rows in texts], np.int64),
        _joined([ends[rows + 1] - ends[rows] for ends, rows in texts], np.int64),
        sources[part],
        _joined(columns["files"], np.int32),
        _joined(columns["lines"], np.int64),
        _joined([ends[:-1] for ends in columns["notes"]], np.int64),
        _joined([np.diff(ends) for ends in columns["notes"]], np.int64),
        keys,
        rank,
        _joined(columns["scores"], np.float64),
        np.ones(len(part), bool),
        ones,
        ones.copy(),
        np.zeros(len(part), np.int8),
    )


def _joined(arrays: list[Any], kind: Any) -> Any:
    return np.concatenate([np.empty(0, kind), *arrays])


OPEN_FILES = 128  # at a time: a source may have thousands of shards


class Reader:
    """Reads single texts of documents; a context manager, because it keeps shards open."""

    def __init__(self, plan: Plan, documents: Documents) -> None:
        self._plan = plan
        self._documents = documents
        self._folder = plan.work / "clean"
        self._open: dict[int, BinaryIO] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._open.values():
            stream.close()

    def _path(self, part: int, kind: str = "text") -> Path:
        return self._folder / f"{self._documents.parts[part]}.{kind}"

    def _shard(self, part: int) -> BinaryIO:
        if part not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[part] = self._path(part).open("rb")
        return self._open[part]

    def text(self, number: int, most: int | None = None) -> str:
        """A document's text, or its first `most` bytes."""
        documents = self._documents
        size = int(documents.size[number])
        stream = self._shard(int(documents.part[number]))
        stream.seek(int(documents.start[number]))
        found = stream.read(size if most is None else min(size, most))
        return found.decode() if most is None else found.decode(errors="ignore")

    def texts(self) -> Texts:
        """The texts of all documents, in memory that the next call in this thread reuses."""
        return self._gathered("text", self._documents.start, self._documents.size)

    def notes(self) -> Texts:
        """What the steps noted of every document, as JSON; of most nothing."""
        return self._gathered("notes", self._documents.note, self._documents.note_size)

    def _gathered(self, kind: str, start: Numbers, size: Numbers) -> Texts:
        """A stretch of its shard for every document; of each shard only what is wanted is read."""
        offsets = np.zeros(len(size) + 1, np.int64)
        np.cumsum(size, out=offsets[1:])
        data = room(kind, int(offsets[-1]))
        filled = size > 0  # a shard of empty texts is an empty file, and cannot be mapped
        for part in np.unique(self._documents.part[filled]).tolist():
            members = np.flatnonzero(filled & (self._documents.part == part))
            shard = mapped(self._path(part, kind))
            gather(shard, start[members], size[members], data, offsets[members])
        return Texts(data[: offsets[-1]], offsets)

    def example(self, number: int) -> dict[str, Any]:
        """What an account shows of a document."""
        text = self.text(number, 4 * SNIPPET)[:SNIPPET]
        (place,) = self._documents.places(self._plan.names, [number])
        return {"place": place, "snippet": text}
