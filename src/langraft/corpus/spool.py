"""Kept documents wait on disk until their order is known; only an index of them stays in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple, Self

from langraft.corpus.documents import Document


class Entry(NamedTuple):
    """One document of a spool: its key, where its line lies, and the UTF-8 bytes of its text."""

    key: bytes
    offset: int
    length: int
    text_bytes: int


class Spool:
    """A file of document lines and its index.

    The file has no name: it is gone when the process ends, however it ends. The index takes about
    200 bytes of memory a document, whatever the document's length.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by __exit__)
        self.entries: list[Entry] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, key: bytes, document: Document) -> None:
        """Append one document."""
        line = document.to_line()
        offset = self._file.tell()
        self._file.write(line)
        self.entries.append(Entry(key, offset, len(line), len(document.text.encode())))

    def lines(self, keys: Set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Key and line of the documents with one of `keys`, in key order: a stable shuffle."""
        for entry in sorted(entry for entry in self.entries if entry.key in keys):
            self._file.seek(entry.offset)
            yield entry.key, self._file.read(entry.length)
