"""Packing and mixing: exact shares, every token once, any position at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.data.pack import IGNORE, Mix, Row, Stream, assemble, diffuse
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


def test_diffuse_by_hand() -> None:
    assert diffuse([0.75, 0.25], 2, 4).tolist() == [[2, 0], [1, 1], [2, 0], [1, 1]]


def test_diffuse_of_the_quickstart_shares() -> None:
    counts = diffuse([0.85, 0.15], 2, 60)
    assert counts.sum(axis=0).tolist() == [102, 18]


def test_six_languages_where_owing_most_would_overfill_a_step() -> None:
    """The row that is owed most, step by step, made a step of five rows out of this."""
    shares = [0.01835247, 0.15636555, 0.00351059, 0.36550733, 0.00318554, 0.45307854]
    counts = diffuse(shares, 4, 40)
    assert (counts.sum(axis=1) == 4).all()
    wanted = np.arange(1, 41)[:, None] * 4 * np.array(shares) / sum(shares)
    assert np.abs(counts.cumsum(axis=0) - wanted).max() <= 1 - 1 / 10 + 1e-6


@given(
    weights=st.lists(st.integers(0, 1_000), min_size=1, max_size=6).filter(any),
    rows=st.integers(1, 40),
    steps=st.integers(1, 60),
)
@settings(max_examples=100, deadline=None)
def test_diffuse_keeps_every_running_total_within_a_row(
    weights: list[int], rows: int, steps: int
) -> None:
    shares = np.array(weights) / sum(weights)
    counts = diffuse(list(shares), rows, steps)
    assert counts.shape == (steps, len(weights))
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == rows).all()
    wanted = np.arange(1, steps + 1)[:, None] * rows * shares
    assert np.abs(counts.cumsum(axis=0) - wanted).max() < 1 + 1e-6


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


def test_a_mix_takes_rows_in_order_from_each_language() -> None:
    zh, en = _shards([5, 7, 9], [30])
    streams = {"zh": Stream([zh], seed=1), "en": Stream([en], seed=1)}
    mix = Mix(streams, {"zh": 0.75, "en": 0.25, "ja": 0.0}, rows=4, row_tokens=6, steps=5)
    again = Stream([zh], seed=1)
    assert mix.languages == ["zh", "en"]
    for step in (4, 0, 2):
        rows = mix.rows(step)
        assert [sum(map(len, row)) for row in rows] == [6, 6, 6, 6]
        zh_rows = [_flat(row) for row in rows[:3]]
        assert zh_rows == [_flat(again.pieces((3 * step + n) * 6, 6)) for n in range(3)]
        assert min(_flat(rows[3])) >= 21


def test_achieved_shares() -> None:
    zh, en = _shards([5], [5])
    streams = {"zh": Stream([zh], seed=1), "en": Stream([en], seed=1)}
    mix = Mix(streams, {"zh": 0.7, "en": 0.3}, rows=2, row_tokens=6, steps=5)
    assert mix.achieved(5) == {"zh": 0.7, "en": 0.3}
    assert mix.achieved(1) == {"zh": 0.5, "en": 0.5}
    assert mix.counts.sum(axis=0).tolist() == [7, 3]


def test_a_language_without_documents_is_named() -> None:
    streams = {"en": Stream(_shards([5]), seed=1)}
    with pytest.raises(BadInput, match="language 'zh' has a share but no documents"):
        Mix(streams, {"en": 0.5, "zh": 0.5}, rows=2, row_tokens=4, steps=2)
