"""Tokenised shards: one flat array of token ids and one of document offsets for each source,
memory-mapped on reading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langraft.core.errors import BadInput

TOKENS = "tokens.npy"
OFFSETS = "offsets.npy"
Encode = Callable[[list[str]], list[list[int]]]


@dataclasses.dataclass(frozen=True)
class Frame:
    """The special tokens around each document: `start` before it (also what its first token is
    predicted from), `end` after.
    """

    start: int
    end: int


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
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [[frame.start, *ids, frame.end] for ids in encode(list(texts))]
    if not encoded:
        raise BadInput(f"{folder.name}: no documents to tokenise")
    tokens = np.fromiter((token for ids in encoded for token in ids), dtype=np.uint32)
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    np.save(folder / TOKENS, tokens)
    np.save(folder / OFFSETS, offsets)
    return Shard(tokens, offsets)


def read_shard(folder: Path) -> Shard:
    """Memory-map a shard that `write_shard` wrote."""
    return Shard(
        np.load(folder / TOKENS, mmap_mode="r", allow_pickle=False),
        np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False),
    )
