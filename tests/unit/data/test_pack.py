"""Packing and mixing: exact shares, every token once, any position at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.data.pack import IGNORE, Row, Stream, assemble
from langraft.data.shards import Shard

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def _shards(*groups: list[int]) -> list[Shard]:
    """Every token has an id of its own, counted over all shards."""
    numbers = itertools.count()
    shards = []
    for lengths in groups:
        offsets = np.cumsum([0, *lengths], dtype=np.int64)
        tokens = [next(numbers) for _ in range(int(offsets[-1]))]
        shards.append(Shard(np.array(tokens, dtype=np.uint32), offsets))
    return shards


def _documents(shards: list[Shard]) -> set[tuple[int, ...]]:
    return {
        tuple(map(int, shard.tokens[a:b]))
        for shard in shards
        for a, b in itertools.pairwise(shard.offsets)
    }


def _flat(row: Row) -> list[int]:
    return [int(token) for piece in row for token in piece]


@given(groups=st.lists(LENGTHS, min_size=1, max_size=3), row=st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_every_token_comes_once_an_epoch(groups: list[list[int]], row: int) -> None:
    shards = _shards(*groups)
    stream = Stream(shards, seed=9)
    assert stream.tokens == sum(map(sum, groups))
    rows = -(-3 * stream.tokens // row)
    flat = [token for n in range(rows) for token in _flat(stream.pieces(n * row, row))]
    assert len(flat) == rows * row
    for epoch in range(3):
        read = flat[epoch * stream.tokens : (epoch + 1) * stream.tokens]
        assert sorted(read) == list(range(stream.tokens))


@given(groups=st.lists(LENGTHS, min_size=1, max_size=3), row=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_documents_keep_their_order_inside_and_pieces_never_span_two(
    groups: list[list[int]], row: int
) -> None:
    shards = _shards(*groups)
    stream, documents = Stream(shards, seed=2), _documents(shards)
    assert {tuple(_flat([piece])) for piece in stream.pieces(0, stream.tokens)} == documents
    for n in range(2 * stream.tokens // row + 1):
        for piece in stream.pieces(n * row, row):
            ids = _flat([piece])
            home = next(d for d in documents if ids[0] in d)
            begin = home.index(ids[0])
            assert tuple(ids) == home[begin : begin + len(ids)]
            assert len(ids)


@given(
    lengths=LENGTHS,
    places=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_a_position_always_gives_the_same_tokens(
    lengths: list[int], places: list[tuple[int, int]]
) -> None:
    whole = _flat(Stream(_shards(lengths), seed=1).pieces(0, 300))
    jumping = Stream(_shards(lengths), seed=1)
    for start, length in places:
        assert _flat(jumping.pieces(start, length)) == whole[start : start + length]


def test_epochs_and_seeds_shuffle_differently() -> None:
    lengths = [3] * 40
    stream = Stream(_shards(lengths), seed=1)
    first, second = (_flat(stream.pieces(n * 120, 120)) for n in range(2))
    other = _flat(Stream(_shards(lengths), seed=2).pieces(0, 120))
    assert sorted(first) == sorted(second) == sorted(other) == list(range(120))
    assert first != second
    assert first != other
    assert first != list(range(120))


@given(rows=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_labels_are_the_next_token_of_the_same_piece(rows: list[list[int]]) -> None:
    numbers = itertools.count(1)
    pieces = [[np.array([next(numbers) for _ in range(n)]) for n in row] for row in rows]
    batch = assemble(pieces)
    flat = [piece for row in pieces for piece in row]
    assert batch.input_ids.tolist() == [int(t) for piece in flat for t in piece]
    assert batch.boundaries.tolist() == [0, *itertools.accumulate(map(len, flat))]
    assert batch.boundaries.dtype == np.int32
    wanted = [int(t) for piece in flat for t in [*piece[1:], IGNORE]]
    assert batch.labels.tolist() == wanted
    assert batch.position_ids.tolist() == [n for piece in flat for n in range(len(piece))]
    assert batch.counted == sum(len(piece) - 1 for piece in flat)


def test_a_row_may_be_one_piece() -> None:
    rows = [[np.array([1, 2]), np.array([3])], [np.array([4, 5, 6])]]
    batch = assemble(rows, across=True, parts=[1, 0])
    assert batch.boundaries.tolist() == [0, 3, 6]
    assert batch.labels.tolist() == [2, 3, IGNORE, 5, 6, IGNORE]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.part_of.tolist() == [1, 1, 1, 0, 0, 0]
    assert batch.longest == 3


@given(groups=st.lists(LENGTHS, min_size=1, max_size=3), parts=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_parts_of_a_stream_hold_every_document_once(groups: list[list[int]], parts: int) -> None:
    shards = _shards(*groups)
    count = sum(map(len, groups))
    found: list[int] = []
    for part in range(min(parts, count)):
        stream = Stream(shards, 3, (part, parts))
        found += _flat(stream.pieces(0, stream.tokens))
    assert sorted(found) == (
        list(range(sum(map(sum, groups)))) if parts <= count else sorted(found)
    )


def test_a_part_without_documents() -> None:
    with pytest.raises(BadInput, match="part 3 of 3: there is no document left"):
        Stream(_shards([5, 5]), 1, (2, 3))


def test_a_place_behind_ten_billion_tokens_is_found_at_once() -> None:
    stream = Stream(_shards([5, 7, 9]), seed=1)
    far = 10_000_000_000
    assert _flat(stream.pieces(far, 30))[:1] == _flat(stream.pieces(far, 1))
    epoch, within = divmod(far, 21)
    again = Stream(_shards([5, 7, 9]), seed=1)
    assert _flat(again.pieces(epoch * 21, 21))[within:] == _flat(stream.pieces(far, 21 - within))


def test_no_position_is_padding_and_few_labels_are_lost() -> None:
    """Rows of 512 over documents of about 700 tokens: what is lost is one label a row, besides the
    ends of documents that have no next token.
    """
    generator = np.random.default_rng(1)
    lengths = [int(n) for n in generator.integers(20, 1_400, 200)]
    stream = Stream(_shards(lengths), seed=4)
    rows = stream.tokens // 512
    batch = assemble(stream.pieces(n * 512, 512) for n in range(rows))
    assert len(batch.input_ids) == rows * 512
    ends = sum(np.cumsum([stream._lengths[i] for i in stream._order]) <= rows * 512)
    lost = len(batch.input_ids) - ends - batch.counted
    assert lost / len(batch.input_ids) < 0.01
