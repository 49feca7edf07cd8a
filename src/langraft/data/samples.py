"""Encoded conversations kept as flat arrays, and the feed that packs them into rows."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langraft.core.errors import BadInput
from langraft.core.io import PARTIAL, disk_errors, remove
from langraft.data.encode import Encoded
from langraft.data.pack import IGNORE, Batch

WINDOW = 2_048  # samples that are packed together: enough to leave hardly a gap


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples one after the other.

    Attributes:
        ids: shape (tokens,).
        learnt: shape (tokens,).
        offsets: where each sample starts, and the end of the last, shape (samples + 1,).
    """

    ids: NDArray[np.int64]
    learnt: NDArray[np.bool_]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each, shape (samples,)."""
        return np.diff(self.offsets)

    def __getitem__(self, number: int) -> Encoded:
        place = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return Encoded(np.asarray(self.ids[place]), np.asarray(self.learnt[place]))


def lay(samples: Sequence[Encoded]) -> Samples:
    """Samples as flat arrays."""
    offsets = np.zeros(len(samples) + 1, np.int64)
    np.cumsum([len(sample.ids) for sample in samples], out=offsets[1:])
    ids = [sample.ids for sample in samples] or [np.empty(0, np.int64)]
    learnt = [sample.learnt for sample in samples] or [np.empty(0, np.bool_)]
    return Samples(np.concatenate(ids), np.concatenate(learnt), offsets)


def save_samples(folder: Path, samples: Samples) -> None:
    """Write the arrays into `folder`, whole or not at all."""
    partial = folder.with_name(folder.name + PARTIAL)
    with disk_errors(folder):
        remove(partial)
        partial.mkdir(parents=True)
        for field in dataclasses.fields(samples):
            np.save(partial / f"{field.name}.npy", getattr(samples, field.name))
        remove(folder)
        partial.rename(folder)


def load_samples(folder: Path) -> Samples:
    """Memory-map what `save_samples` wrote."""
    names = [field.name for field in dataclasses.fields(Samples)]
    return Samples(
        *(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names)
    )


def pack(lengths: NDArray[np.int64], order: NDArray[np.int64], capacity: int) -> list[list[int]]:
    """Samples in rows of at most `capacity` tokens, first fit by falling length inside windows of
    the order; no sample is cut and none is lost.

    Returns:
        the samples' numbers by row.
    """
    rows: list[list[int]] = []
    for start in range(0, len(order), WINDOW):
        window = order[start : start + WINDOW]
        window = window[np.argsort(-lengths[window], kind="stable")]
        room: list[tuple[int, int]] = []  # (tokens left, row), sorted
        for number in window.tolist():
            size = int(lengths[number])
            place = bisect.bisect_left(room, (size, -1))
            if place == len(room):
                rows.append([])
                left, row = capacity, len(rows) - 1
            else:
                left, row = room.pop(place)
            rows[row].append(number)
            bisect.insort(room, (left - size, row))
    return rows


@dataclasses.dataclass(frozen=True)
class Phase:
    """Samples that are learnt together, `epochs` times each.

    A curriculum has a phase for each level of difficulty, training on several sets one for each
    set.
    """

    name: str
    samples: NDArray[np.int64]
    epochs: int = 1


class Settled:
    """A feed whose batches depend on the position alone."""

    def extend(self) -> Sequence[str]:
        """Nothing comes late."""
        return ()

    def state(self) -> Mapping[str, Any]:
        """Nothing: a batch depends on the position alone."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to put back."""


def own_part(batch: int, position: int, rank: int, world: int, what: str) -> range:
    """The places of a rank's share of the batch at a position, counted over all batches.

    Raises:
        BadInput: the batch does not divide among the ranks; `what` names what it holds.
    """
    if batch % world:
        raise BadInput(f"a batch of {batch} {what} does not divide among {world} ranks")
    each = batch // world
    first = position * batch + rank * each
    return range(first, first + each)


class SampleFeed(Settled):
    """Batches of whole samples: every epoch in another order, phase after phase.

    A row holds several samples that do not see one another (`packed`), or one. The last batch is
    filled up from the first rows, so that every step has the same number of rows and nothing is
    lost.

    Attributes:
        parts: the phases' names.
        steps: batches in all.
        boundaries: steps after which a phase has ended.
    """

    def __init__(
        self,
        samples: Samples,
        phases: Sequence[Phase],
        *,
        rows: int,
        row_tokens: int,
        seed: int,
        packed: bool = True,
        shuffle: bool = True,
    ) -> None:
        """Lay out all rows.

        Raises:
            BadInput: a phase has no sample, or one is longer than a row.
        """
        self._samples, self._rows = samples, rows
        self.parts = [phase.name for phase in phases]
        self._plan: list[tuple[int, list[int]]] = []
        ends = []
        lengths = samples.lengths
        if len(samples) and int(lengths.max()) > row_tokens:
            raise BadInput(f"a sample of {int(lengths.max())} tokens is longer than a row")
        for place, phase in enumerate(phases):
            if not len(phase.samples):
                raise BadInput(f"{phase.name}: there is no sample to learn from")
            for epoch in range(phase.epochs):
                generator = np.random.Generator(np.random.PCG64([seed, place, epoch]))
                mixed = generator.permutation(phase.samples) if shuffle else phase.samples
                found = (
                    pack(lengths, mixed, row_tokens) if packed else [[n] for n in mixed.tolist()]
                )
                if packed and shuffle:
                    found = [found[n] for n in generator.permutation(len(found))]
                self._plan += [(place, row) for row in found]
            ends.append(-(-len(self._plan) // rows))
        self.steps = ends[-1]
        self.boundaries = frozenset(end for end in ends[:-1] if 0 < end < self.steps)

    @property
    def fill(self) -> float:
        """The mean number of samples a row."""
        return sum(len(row) for _, row in self._plan) / len(self._plan)

    def batches(
        self, position: int, micro_rows: int | None = None, rank: int = 0, world: int = 1
    ) -> list[Batch]:
        """This rank's micro-batches of one step.

        Raises:
            BadInput: the rows of a batch do not divide among the ranks.
        """
        places = own_part(self._rows, position, rank, world, "rows")
        own = [self._plan[n % len(self._plan)] for n in places]
        size = micro_rows or len(own)
        return [self._batch(own[a : a + size]) for a in range(0, len(own), size)]

    def _batch(self, rows: Sequence[tuple[int, list[int]]]) -> Batch:
        pieces = [(place, self._samples[n]) for place, row in rows for n in row]
        lengths = np.array([len(sample.ids) for _, sample in pieces], np.int64)
        part = np.repeat(np.array([place for place, _ in pieces], np.int64), lengths)
        return batch_of([sample for _, sample in pieces], part)

    def achieved(self) -> Mapping[str, float]:
        """The share of rows that each phase has."""
        places = np.array([place for place, _ in self._plan])
        return {name: round(float((places == n).mean()), 4) for n, name in enumerate(self.parts)}


def batch_of(samples: Sequence[Encoded], part: NDArray[np.int64] | None = None) -> Batch:
    """Samples end to end; a label is the next token where that one is learnt."""
    lengths = np.array([len(sample.ids) for sample in samples], np.int64)
    boundaries = np.zeros(len(samples) + 1, np.int32)
    np.cumsum(lengths, out=boundaries[1:])
    ids = np.concatenate([sample.ids for sample in samples])
    learnt = np.concatenate([sample.learnt for sample in samples])
    labels = np.append(np.where(learnt[1:], ids[1:], IGNORE), IGNORE)
    labels[boundaries[1:] - 1] = IGNORE
    positions = np.arange(len(ids)) - np.repeat(boundaries[:-1].astype(np.int64), lengths)
    empty = np.zeros(len(ids), np.int64)
    return Batch(ids, labels, positions, boundaries, empty if part is None else part)
