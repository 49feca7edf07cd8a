"""Packing: rows of equal length cut from endless streams of documents, at any place at once.

No token is lost: documents follow one another without padding, and one that does not fit goes on in
the next row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from langraft.core.errors import BadInput
from langraft.data.shards import Shard

IGNORE = -100
Row = list[NDArray[np.int64]]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Packed rows laid end to end, T tokens in all.

    Attributes:
        input_ids: shape (T,).
        labels: the next token of the same document, IGNORE at the end of each piece; shape (T,).
        position_ids: 0 at the start of each piece, counting up; shape (T,).
        boundaries: where each piece starts, and T at the end (cumulative lengths); shape (pieces +
            1,).
        part_of: which part of the mix each token belongs to, shape (T,); empty when nobody asks.
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    boundaries: NDArray[np.int32]
    part_of: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def counted(self) -> int:
        """Labels that count towards the loss."""
        return int((self.labels != IGNORE).sum())

    @property
    def longest(self) -> int:
        """Tokens of the longest piece."""
        return int(np.diff(self.boundaries).max())


class Stream:
    """The documents of some shards as one endless sequence of tokens, reshuffled every epoch by the
    seed.

    Attributes:
        tokens: tokens in one epoch.
    """

    def __init__(self, shards: Sequence[Shard], seed: int, part: tuple[int, int] = (0, 1)) -> None:
        """With `part` (i, n) only every n-th document is read, from the i-th on.

        Raises:
            BadInput: no document is left.
        """
        self._shards = shards
        self._seed = seed
        every = slice(part[0], None, part[1])
        homes = [np.full(shard.documents, n, np.int32) for n, shard in enumerate(shards)]
        self._home: NDArray[np.int32] = np.concatenate(homes)[every]
        firsts = [np.asarray(shard.offsets[:-1]) for shard in shards]
        self._first: NDArray[np.int64] = np.concatenate(firsts)[every]
        lengths = [np.diff(shard.offsets) for shard in shards]
        self._lengths: NDArray[np.int64] = np.concatenate(lengths)[every]
        self.tokens = int(self._lengths.sum())
        if not self.tokens:
            raise BadInput(
                f"part {part[0] + 1} of {part[1]}: there is no document left for it; "
                "take fewer buckets"
            )
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._starts: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def _turn_to(self, epoch: int) -> None:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
            self._order = generator.permutation(len(self._lengths))
            self._starts = np.zeros(len(self._order) + 1, dtype=np.int64)
            np.cumsum(self._lengths[self._order], out=self._starts[1:])
            self._epoch = epoch

    def pieces(self, start: int, length: int) -> Row:
        """Tokens `start` to `start + length` of the stream, split where documents meet."""
        found: Row = []
        place = -1
        while length > 0:
            epoch, within = divmod(start, self.tokens)
            if epoch != self._epoch or place < 0:
                self._turn_to(epoch)
                place = int(np.searchsorted(self._starts, within, side="right")) - 1
            document = self._order[place]
            inside = within - int(self._starts[place])
            taken = min(int(self._lengths[document]) - inside, length)
            first = int(self._first[document]) + inside
            tokens = self._shards[self._home[document]].tokens
            if taken:
                found.append(tokens[first : first + taken].astype(np.int64))
            start, length, place = start + taken, length - taken, place + 1
        return found


def assemble(
    rows: Iterable[Row], *, across: bool = False, parts: Sequence[int] | None = None
) -> Batch:
    """Lay the pieces of some rows end to end; labels never reach into the next piece.

    Args:
        across: treat a whole row as one piece.
        parts: which part of the mix each row belongs to.
    """
    if across:
        rows = [[np.concatenate(row)] for row in rows]
    rows = list(rows)
    pieces = [piece for row in rows for piece in row]
    ids = np.concatenate(pieces)
    lengths = np.fromiter((len(piece) for piece in pieces), np.int64, len(pieces))
    boundaries = np.zeros(len(pieces) + 1, dtype=np.int32)
    np.cumsum(lengths, out=boundaries[1:])
    labels = np.append(ids[1:], IGNORE)
    labels[boundaries[1:] - 1] = IGNORE
    positions = np.arange(len(ids)) - np.repeat(boundaries[:-1].astype(np.int64), lengths)
    if parts is None:
        return Batch(ids, labels, positions, boundaries)
    sizes = [sum(map(len, row)) for row in rows]
    return Batch(ids, labels, positions, boundaries, np.repeat(np.asarray(parts), sizes))
