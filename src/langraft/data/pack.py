"""Packing and mixing: rows of equal length cut from endless streams of documents, in exact shares,
for any step at once.

No token is lost: documents follow one another without padding, and one that does not fit goes on in
the next row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

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
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    boundaries: NDArray[np.int32]

    @property
    def counted(self) -> int:
        """Labels that count towards the loss."""
        return int((self.labels != IGNORE).sum())


class Stream:
    """The documents of some shards as one endless sequence of tokens, reshuffled every epoch by the
    seed.
    """

    def __init__(self, shards: Sequence[Shard], seed: int) -> None:
        self._shards = shards
        self._seed = seed
        self._documents = [(s, d) for s, shard in enumerate(shards) for d in range(shard.documents)]
        lengths = [np.diff(shard.offsets) for shard in shards]
        self._lengths: NDArray[np.int64] = np.concatenate(lengths)
        self.tokens = int(self._lengths.sum())
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._starts: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def _turn_to(self, epoch: int) -> None:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
            self._order = generator.permutation(len(self._documents))
            self._starts = np.concatenate([[0], np.cumsum(self._lengths[self._order])])
            self._epoch = epoch

    def pieces(self, start: int, length: int) -> Row:
        """Tokens `start` to `start + length` of the stream, split where documents meet."""
        found: Row = []
        while length > 0:
            epoch, within = divmod(start, self.tokens)
            self._turn_to(epoch)
            place = int(np.searchsorted(self._starts, within, side="right")) - 1
            shard_index, document = self._documents[self._order[place]]
            shard = self._shards[shard_index]
            first = int(shard.offsets[document]) + within - int(self._starts[place])
            last = min(int(shard.offsets[document + 1]), first + length)
            found.append(shard.tokens[first:last].astype(np.int64))
            start, length = start + last - first, length - (last - first)
        return found


class Mix:
    """Batches of `rows` packed rows in exact shares by language.

    Each batch takes whole rows; what a share leaves over is carried to the next batch (error
    diffusion), so that after any
    number of steps every language is within one row of its share.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        shares: Mapping[str, float],
        *,
        rows: int,
        row_tokens: int,
        steps: int,
    ) -> None:
        """Lay out all `steps` batches.

        Raises:
            BadInput: a language with a share has no documents.
        """
        missing = [
            language for language, share in shares.items() if share > 0 and language not in streams
        ]
        if missing:
            raise BadInput(
                f"mix: language {missing[0]!r} has a share but no documents in the corpus"
            )
        self.languages = [language for language in shares if shares[language] > 0]
        self._streams = streams
        self._row_tokens = row_tokens
        self.counts = diffuse([shares[language] for language in self.languages], rows, steps)
        self._before = np.concatenate(
            [np.zeros((1, len(self.languages)), np.int64), np.cumsum(self.counts, axis=0)]
        )

    def rows(self, step: int) -> list[Row]:
        """The packed rows of 0-based `step`, each as pieces of documents."""
        found = []
        for column, language in enumerate(self.languages):
            first = int(self._before[step, column])
            for row in range(first, first + int(self.counts[step, column])):
                found.append(
                    self._streams[language].pieces(row * self._row_tokens, self._row_tokens)
                )
        return found

    def achieved(self, steps: int) -> dict[str, float]:
        """The share of rows each language really had in the first `steps` batches."""
        taken = self._before[steps]
        return {
            language: round(float(n / taken.sum()), 4)
            for language, n in zip(self.languages, taken, strict=True)
        }


def diffuse(shares: Sequence[float], rows: int, steps: int) -> NDArray[np.int64]:
    """Whole rows for each step and share, shape (steps, shares): every step sums to `rows`, and no
    running total is ever a row or more away from its share.

    Rows go one by one to the share whose deadline comes first among those that are owed enough
    (R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32, 1980); giving each row
    to the share that is owed most would break the bound with three languages or more.
    """
    wanted = np.asarray(shares, dtype=np.float64) / sum(shares)
    enough = 1 / max(2, 2 * len(wanted) - 2)
    pace = np.where(wanted > 0, wanted, 1.0)
    counts = np.zeros((steps, len(wanted)), dtype=np.int64)
    taken = np.zeros(len(wanted))
    for row in range(steps * rows):
        owed = wanted * (row + 1) - taken
        deadline = np.ceil((1 - enough - owed) / pace - 1e-9)
        chosen = int(np.argmin(np.where(owed >= enough - 1e-9, deadline, np.inf)))
        counts[row // rows, chosen] += 1
        taken[chosen] += 1
    return counts


def assemble(rows: Iterable[Row]) -> Batch:
    """Lay the pieces of some rows end to end; labels never reach into the next piece."""
    pieces = [piece for row in rows for piece in row]
    ids = np.concatenate(pieces)
    boundaries = np.cumsum([0, *map(len, pieces)], dtype=np.int32)
    labels = np.append(ids[1:], IGNORE)
    labels[boundaries[1:] - 1] = IGNORE
    positions = np.concatenate([np.arange(len(piece)) for piece in pieces])
    return Batch(ids, labels, positions, boundaries)
