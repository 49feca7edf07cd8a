"""What the model is asked to read, as rows of ids; which places of a row are scored; and the
batches they are read in.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from langraft.evals.suites import Question

Encode = Callable[[str], list[int]]
# A prefix shorter than this is not worth a pass of its own.
SHORTEST_PREFIX = 8


class Ask(NamedTuple):
    """The model's opinion of `token` as what follows position `at`; counted into `slot`."""

    at: int
    token: int
    slot: int


@dataclasses.dataclass(frozen=True)
class Row:
    """One sequence that the model reads, for one question."""

    question: int
    ids: tuple[int, ...]
    asks: tuple[Ask, ...]


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows whose first `prefix` ids are the same, and are read once."""

    rows: tuple[Row, ...]
    prefix: int


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one group that are read together, longest first."""

    group: int
    rows: tuple[Row, ...]

    @property
    def questions(self) -> set[int]:
        """The questions that these rows belong to."""
        return {row.question for row in self.rows}


def letter_row(
    question: int, ids: Sequence[int], letters: Mapping[str, Sequence[int]]
) -> list[Row]:
    """One row: every id of every letter is a slot of its own, in the letters' order."""
    slots = itertools.chain.from_iterable(letters.values())
    last = len(ids) - 1
    asks = tuple(Ask(last, token, slot) for slot, token in enumerate(slots))
    return [Row(question, tuple(ids), asks)]


def continuation_rows(
    question: int, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[Row]:
    """Rows for (context, continuation) pairs, slot by slot; pairs that read the same ids share a
    row, as continuations of a single token do.
    """
    rows: dict[tuple[int, ...], list[Ask]] = {}
    for slot, (context, continuation) in enumerate(pairs):
        whole = (*context, *continuation)
        asks = [
            Ask(len(context) + offset - 1, token, slot) for offset, token in enumerate(continuation)
        ]
        rows.setdefault(whole[:-1], []).extend(asks)
    return [Row(question, ids, tuple(asks)) for ids, asks in rows.items()]


def encode_pair(encode: Encode, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of what follows it, split where the whole text's ids are.

    Blanks at the end of the context belong to the continuation: tokenizers write them together
    with the next word.
    """
    kept = context.rstrip()
    whole = encode(context + continuation)
    before = encode(kept)
    return before, whole[len(before) :]


def option_texts(question: Question, fill: bool) -> list[tuple[str, str]]:
    """(context, continuation) texts of each option: the option after the prompt, or, for a sentence
    with a gap, the rest of the sentence after each filling.
    """
    if not fill:
        return [("", f" {option}") for option in question.options]
    before, after = question.text.split("_", 1)
    return [(before + option, f" {after.strip()}") for option in question.options]


def grouped(rows: Iterable[tuple[object, Row]], share: bool) -> list[Group]:
    """Groups of the rows with equal keys, in order of first appearance.

    Args:
        share: look for a common prefix; without it every row is read whole.
    """
    by_key: dict[object, list[Row]] = {}
    for key, row in rows:
        by_key.setdefault(key, []).append(row)
    found = []
    for members in by_key.values():
        prefix = common_prefix(members) if share and len(members) > 1 else 0
        found.append(Group(tuple(members), prefix if prefix >= SHORTEST_PREFIX else 0))
    return found


def common_prefix(rows: Sequence[Row]) -> int:
    """How many leading ids all rows share, the first scored place of any row left out."""
    low, high = min(r.ids for r in rows), max(r.ids for r in rows)
    shared = 0
    for a, b in zip(low, high, strict=False):
        if a != b:
            break
        shared += 1
    return min(shared, *(ask.at for row in rows for ask in row.asks))


def batches(groups: Sequence[Group], tokens: int) -> Iterator[Batch]:
    """Batches of at most `tokens` ids, counted at their longest row's length (a longer row stands
    alone), each of one group, rows by falling length.
    """
    for index, group in enumerate(groups):
        pending = sorted(group.rows, key=lambda row: -len(row.ids))
        while pending:
            count = max(1, tokens // max(1, len(pending[0].ids) - group.prefix))
            yield Batch(index, tuple(pending[:count]))
            pending = pending[count:]


def share_of(found: Sequence[Batch], groups: Sequence[Group], rank: int, world: int) -> list[Batch]:
    """The batches of one rank: a run of neighbours that costs about the same as every other
    rank's, so that few prefixes are read twice.
    """
    costs = [sum(len(r.ids) - groups[b.group].prefix for r in b.rows) for b in found]
    total, done, mine = sum(costs), 0.0, []
    for batch, cost in zip(found, costs, strict=True):
        if min(world - 1, int((done + cost / 2) / max(1, total) * world)) == rank:
            mine.append(batch)
        done += cost
    return mine
