"""Many texts as one run of UTF-8 bytes: what every kernel reads, and Arrow's own layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Texts:
    """N texts.

    Attributes:
        data: their UTF-8 bytes, one after the other.
        offsets: N + 1 positions in `data`; text i lies between the i-th and the next.
    """

    data: Bytes
    offsets: Offsets

    def __post_init__(self) -> None:
        """Nothing writes into texts; and a kernel is compiled anew for arrays that may be written
        to, so all must be of one kind.
        """
        for name in ("data", "offsets"):
            shown = getattr(self, name).view()
            shown.flags.writeable = False
            object.__setattr__(self, name, shown)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The texts of a list of str."""
        return cls.of_bytes([text.encode() for text in texts])

    @classmethod
    def of_bytes(cls, encoded: list[bytes]) -> Self:
        """The texts whose UTF-8 bytes are given."""
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Self:
        """The texts of all `parts`, one after the other."""
        sizes = np.concatenate([np.zeros(1, np.int64), *(part.sizes for part in parts)])
        used = [part.data[part.offsets[0] : part.offsets[-1]] for part in parts]
        return cls(np.concatenate([np.zeros(0, np.uint8), *used]), np.cumsum(sizes))

    @classmethod
    def of_arrow(cls, column: Any) -> Self:
        """The texts of an Arrow array of (large) strings without nulls; not copied where the array
        has 64-bit offsets.
        """
        import pyarrow as pa

        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        column = column.cast(pa.large_string())
        _, offsets, data = column.buffers()
        first = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
        return cls(np.frombuffer(data or b"", np.uint8), first)

    def to_arrow(self) -> Any:
        """An Arrow array of large strings over the same memory."""
        import pyarrow as pa

        offsets = np.ascontiguousarray(self.offsets)
        return pa.LargeStringArray.from_buffers(
            len(self), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(self.data))
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.encoded(index).decode()

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def encoded(self, index: int) -> bytes:
        """The UTF-8 bytes of one text."""
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """The UTF-8 bytes of each text."""
        return np.diff(self.offsets)

    def between(self, start: int, stop: int) -> Texts:
        """The texts from number `start` to before `stop`, in the same memory."""
        return Texts(self.data, self.offsets[start : stop + 1])

    def take(self, chosen: npt.NDArray[np.int64]) -> Texts:
        """The texts with these numbers, in this order."""
        view = memoryview(self.data.data)
        starts, ends = self.offsets[:-1][chosen].tolist(), self.offsets[1:][chosen].tolist()
        parts = [view[start:end] for start, end in zip(starts, ends, strict=True)]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(self.sizes[chosen], out=offsets[1:])
        return Texts(np.frombuffer(b"".join(parts), np.uint8), offsets)

    def replaced(self, changes: dict[int, str]) -> Texts:
        """The same texts with some of them exchanged."""
        if not changes:
            return self
        view, ends = memoryview(self.data.data), self.offsets.tolist()
        parts = [
            changes[index].encode() if index in changes else view[ends[index] : ends[index + 1]]
            for index in range(len(self))
        ]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=offsets[1:])
        return Texts(np.frombuffer(b"".join(parts), np.uint8), offsets)
