"""The course of a stage: bucket after bucket, each with the whole mix, and more buckets when more
text comes while it runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from langraft.core.errors import BadInput
from langraft.data.pack import Batch, Row, Stream, assemble
from langraft.data.turns import Mix

Streams = Mapping[str, Stream]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a stage's tokens become batches.

    Attributes:
        rows: packed rows a batch.
        row_tokens: tokens a row.
        steps: batches of the planned buckets.
        buckets: how many there are.
        epochs: how often a text may be read at most.
        across: see `assemble`.
    """

    rows: int
    row_tokens: int
    steps: int
    buckets: int = 1
    epochs: float = 1.0
    across: bool = False

    def edges(self) -> list[int]:
        """Where the planned buckets begin, and the end of the last."""
        return [round(self.steps * k / self.buckets) for k in range(self.buckets + 1)]


class Course:
    """Which rows each step learns from: a function of the step and of what `state` returns.

    Attributes:
        parts: the parts of the mix.
        shares: those that hold now.
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        layout: Layout,
        bucket: Callable[[int], Streams],
        late: Callable[[str], Streams] | None = None,
        waiting: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        """Plan the buckets.

        Args:
            shares: by part of the mix, those of 0 left out; they sum to 1.
            bucket: the streams of a planned bucket.
            late: the streams of a late bucket.
            waiting: the names of all late buckets that there are now.
        """
        self.shares = {part: share for part, share in shares.items() if share > 0}
        self.parts = list(self.shares)
        self._layout = layout
        self._bucket, self._late, self._waiting = bucket, late, waiting
        self._edges = layout.edges()
        self._names: list[str] = []
        self._history: list[tuple[int, dict[str, float]]] = [(0, self.shares)]
        self._mixes: dict[int, tuple[int, Mix]] = {}
        self._streams: dict[int, Streams] = {}
        self._reader = _Ahead()
        self._position = -1

    @property
    def steps(self) -> int:
        """Batches in all, late buckets included."""
        return self._edges[-1]

    @property
    def boundaries(self) -> frozenset[int]:
        """Steps after which another bucket begins."""
        return frozenset(self._edges[1:-1])

    def bucket_of(self, position: int) -> int:
        """The bucket that a position lies in; behind the end it is the last."""
        found = int(np.searchsorted(self._edges, position, side="right")) - 1
        return min(found, len(self._edges) - 2)

    def check(self) -> None:
        """See that the planned buckets hold enough text.

        Raises:
            BadInput: one would read some text more than `epochs` times, or has none.
        """
        for bucket in range(self._layout.buckets):
            streams = self._streams_of(bucket)
            missing = [part for part in self.parts if part not in streams]
            if missing:
                raise BadInput(
                    f"mix: {missing[0]!r} has a share but no documents in the corpus; it must be "
                    "the language or the name of a source that has some"
                )
            steps = self._edges[bucket + 1] - self._edges[bucket]
            wanted = self._mix(bucket).before(steps) * self._layout.row_tokens
            for part, tokens in zip(self.parts, wanted, strict=True):
                times = int(tokens) / streams[part].tokens
                if times > self._layout.epochs + 1e-9:
                    where = f"bucket {bucket + 1}: " if self._layout.buckets > 1 else ""
                    raise BadInput(
                        f"{where}{part!r} would be read {times:.3g} times ({int(tokens):,} of "
                        f"{streams[part].tokens:,} tokens), and epochs is "
                        f"{self._layout.epochs:g}. Lower tokens, or its share in mix, or set "
                        f"epochs to {times + 0.005:.2f}"
                    )

    def _streams_of(self, bucket: int) -> Streams:
        if bucket not in self._streams:
            planned = bucket < self._layout.buckets
            assert planned or self._late is not None
            found = (
                self._bucket(bucket)
                if planned
                else self._late(self._names[bucket - self._layout.buckets])  # type: ignore[misc]
            )
            self._streams = {bucket: found}  # one bucket's index in memory at a time
        return self._streams[bucket]

    def _mix(self, bucket: int) -> Mix:
        version = len(self._history)
        if self._mixes.get(bucket, (0,))[0] != version:
            first, last = self._edges[bucket], self._edges[bucket + 1]
            start = [shares for at, shares in self._history if at <= first][-1]
            mix = Mix(start, self._layout.rows)
            for at, shares in self._history:
                if first < at and (at < last or last == self.steps):
                    mix.change(at - first, shares)
            self._mixes[bucket] = (version, mix)
        return self._mixes[bucket][1]

    def batches(
        self, position: int, micro_rows: int | None = None, rank: int = 0, world: int = 1
    ) -> list[Batch]:
        """This rank's micro-batches of one step; the next step's are read ahead by a thread."""

        def read(at: int) -> list[Batch]:
            places = self.places(at)
            each = len(places) // world
            own = places[rank * each : (rank + 1) * each]
            size = micro_rows or each
            return [self._assemble(at, own[a : a + size]) for a in range(0, each, size)]

        self._position = position
        return self._reader(read, position)

    def places(self, position: int) -> list[tuple[int, int]]:
        """All rows of one step as (number of the part, row of that part's stream)."""
        bucket = self.bucket_of(position)
        return self._mix(bucket).places(position - self._edges[bucket])

    def read(self, position: int, place: tuple[int, int]) -> Row:
        """One packed row as pieces of documents."""
        part, row = place
        stream = self._streams_of(self.bucket_of(position))[self.parts[part]]
        return stream.pieces(row * self._layout.row_tokens, self._layout.row_tokens)

    def _assemble(self, position: int, places: Sequence[tuple[int, int]]) -> Batch:
        rows = [self.read(position, place) for place in places]
        parts = [part for part, _ in places] if len(self.parts) > 1 else None
        return assemble(rows, across=self._layout.across, parts=parts)

    def change(self, shares: Mapping[str, float]) -> None:
        """From the position after the last one asked for on other shares hold."""
        self._reader.forget()
        self.shares = dict(shares)
        self._history.append((self._position + 1, self.shares))

    def extend(self) -> list[str]:
        """Take in late buckets that have come since; returns their names."""
        fresh = [name for name in self._waiting() if name not in self._names]
        self._reader.forget()
        for name in fresh:
            self._names.append(name)
            self._edges.append(self._edges[-1] + self._late_steps(len(self._edges) - 1))
        return fresh

    def _late_steps(self, bucket: int) -> int:
        """As many batches as the scarcest part of a late bucket is enough for, one at least."""
        streams = self._streams_of(bucket)
        batch = self._layout.rows * self._layout.row_tokens
        enough = min(
            streams[part].tokens * self._layout.epochs / share
            for part, share in self.shares.items()
            if part in streams
        )
        return max(1, int(enough // batch))

    def achieved(self) -> dict[str, float]:
        """The share of rows that each part really had over all steps."""
        taken = np.zeros(len(self.parts), np.int64)
        for bucket in range(len(self._edges) - 1):
            taken += self._mix(bucket).before(self._edges[bucket + 1] - self._edges[bucket])
        shares = taken / max(1, taken.sum())
        return {part: round(float(s), 4) for part, s in zip(self.parts, shares, strict=True)}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "shares": self._history,
            "late": self._names,
            "edges": self._edges,
            "position": self._position,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self._reader.forget()
        self._history = [(int(at), dict(shares)) for at, shares in state["shares"]]
        self.shares = self._history[-1][1]
        self._names, self._edges = list(state["late"]), list(state["edges"])
        self._position = int(state["position"])
        self._mixes, self._streams = {}, {}


class _Ahead:
    """Reads the next position in a thread while this one is worked on."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._next: tuple[int, Future[list[Batch]]] | None = None

    def __call__(self, read: Callable[[int], list[Batch]], position: int) -> list[Batch]:
        waiting, self._next = self._next, None
        if waiting is not None and waiting[0] == position:
            found = waiting[1].result()
        else:
            if waiting is not None:
                waiting[1].exception()  # one reader at a time
            found = read(position)
        self._next = (position + 1, self._pool.submit(read, position + 1))
        return found

    def forget(self) -> None:
        """What was read ahead is no longer right."""
        if self._next is not None:
            self._next[1].exception()
            self._next = None
