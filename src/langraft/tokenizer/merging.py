"""Learning merges, compiled by numba: the inner loop of BPE.

A text is one long array of symbols, its sequences apart by `GAP`, each with a weight. A token that
spans n positions keeps its symbol at its first position, and n at its first and last, so that both
neighbours of a token are found without links.
"""

from __future__ import annotations

import dataclasses
import heapq
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
GAP, INSIDE = -1, -2
LONGEST = 100  # positions in a token: a span is one byte


@dataclasses.dataclass(frozen=True)
class Merges:
    """Merges in the order in which they were learned.

    Attributes:
        pairs: left and right symbol of each, shape (n, 2).
        products: the symbol that each gives; two merges may give the same, shape (n,).
        gains: tokens that each saves on the weighted text, shape (n,).
    """

    pairs: Int32
    products: Int32
    gains: Int64


class Alphabet(NamedTuple):
    """What is known of each symbol that a text may hold.

    Attributes:
        lengths: its characters, shape (symbols,).
        joins: whether a pair may be merged because it has this symbol: of two neighbours one at
            least must be so, shape (symbols,).
    """

    lengths: Int32
    joins: Flags


class _Text(NamedTuple):
    symbols: Int32
    weights: Int32
    spans: Int8


class _Pairs(NamedTuple):
    """A hash table from (left << 32 | right) to a count and the last record of the pair."""

    keys: Int64
    counts: Int64
    heads: Int64


class _Records(NamedTuple):
    """Places of pairs: record i stands at place i when i < len(text), later ones at `places`.
    `links` leads from each to the one before it of the same pair, -1 at the first.
    """

    links: Int32
    places: Int32


def learn_merges(
    text: Int32, weights: Int32, alphabet: Alphabet, *, limit: int, least: int, longest: int
) -> Merges:
    """Merge the most frequent pair of neighbours until `limit` new symbols are made.

    Ties go to the pair with the smaller symbols, as in Hugging Face's trainer.

    Args:
        text: symbols, sequences apart by GAP, shape (n,); overwritten.
        weights: how often the sequence of each position occurs, shape (n,).
        alphabet: the symbols.
        limit: most new symbols.
        least: lowest count of a pair.
        longest: most characters in a symbol; no symbol spans more than LONGEST positions.
    """
    table, links, used = _count_pairs(text, weights, alphabet.joins)
    state = _Text(text, weights, np.ones(len(text), np.int8))
    records = _Records(links, np.empty(1 << 12, np.int32))
    pairs, products, gains = _learn(
        state, table, records, used, alphabet.lengths, limit, least, longest
    )
    return Merges(pairs, products, gains)


@njit(cache=True)
def find_slot(keys: Int64, key: int) -> int:
    """Where `key` stands in a table of a power of two, or the free place where it belongs."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    mask = len(keys) - 1
    slot = np.int64(mixed >> np.uint64(20)) & mask
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def _key(left: int, right: int) -> int:
    return np.int64(left) << 32 | np.int64(right)


@njit(cache=True)
def _new_pairs(size: int) -> _Pairs:
    return _Pairs(
        np.full(size, -1, np.int64), np.zeros(size, np.int64), np.full(size, -1, np.int64)
    )


@njit(cache=True)
def _with_room(table: _Pairs, wanted: int) -> _Pairs:
    """The table with place for `wanted` keys at no more than half its size."""
    size = len(table.keys)
    if 2 * wanted <= size:
        return table
    while size < 2 * wanted:
        size *= 2
    larger = _new_pairs(size)
    for old in range(len(table.keys)):
        if table.keys[old] != -1:
            slot = find_slot(larger.keys, table.keys[old])
            larger.keys[slot], larger.counts[slot] = table.keys[old], table.counts[old]
            larger.heads[slot] = table.heads[old]
    return larger


@njit(cache=True)
def _longer(array: Int32, wanted: int) -> Int32:
    if wanted <= len(array):
        return array
    found = np.empty(max(wanted, len(array) + len(array) // 2), array.dtype)
    found[: len(array)] = array
    return found


@njit(cache=True)
def _count_pairs(text: Int32, weights: Int32, joins: Flags) -> tuple[_Pairs, Int32, int]:
    """Every pair with its count and its places, the last first."""
    table = _new_pairs(1 << 16)
    links = np.full(len(text), -1, np.int32)
    used = 0
    for place in range(len(text) - 1):
        left, right = text[place], text[place + 1]
        if left < 0 or right < 0 or not (joins[left] or joins[right]):
            continue
        key = _key(left, right)
        slot = find_slot(table.keys, key)
        if table.keys[slot] == -1:
            used += 1
            table.keys[slot] = key
        table.counts[slot] += weights[place]
        links[place] = table.heads[slot]
        table.heads[slot] = place
        table = _with_room(table, used)
    return table, links, used


@njit(cache=True)
def _learn(
    text: _Text,
    table: _Pairs,
    records: _Records,
    used: int,
    lengths: Int32,
    limit: int,
    least: int,
    longest: int,
) -> tuple[Int32, Int32, Int64]:
    symbols = len(lengths)
    names = _Names(*_named(lengths, limit))
    heap = _heap_of(table, least)
    extra, size, merges = 0, symbols, 0
    pairs = np.empty((2 * limit + 16, 2), np.int32)
    products, gains = np.empty(len(pairs), np.int32), np.empty(len(pairs), np.int64)
    learned = _new_pairs(1 << 16)
    while size < symbols + limit and merges < len(pairs) and len(heap):
        count, key = heapq.heappop(heap)
        slot = find_slot(table.keys, key)
        if table.counts[slot] != -count:
            if table.counts[slot] >= least:
                heapq.heappush(heap, (-table.counts[slot], key))
            continue
        left, right = np.int32(key >> 32), np.int32(key & 0xFFFFFFFF)
        if not _fits(names, left, right, longest):
            continue
        product = _name(names, left, right, size)
        size += product == size
        links = _longer(records.links, len(text.symbols) + extra + 2 * -count)
        places = _longer(records.places, extra + 2 * -count)
        records = _Records(links, places)
        table = _with_room(table, used + min(2 * -count, 2 * size))
        gained, extra, fresh = _merge(text, table, records, extra, (left, right, product))
        used += len(fresh)
        for new in fresh:
            total = table.counts[find_slot(table.keys, new)]
            if total >= least:
                heapq.heappush(heap, (-total, new))
        learned = _with_room(learned, merges + 1)
        seen = find_slot(learned.keys, key)
        if learned.keys[seen] == key:  # met again: its left part has come from another merge too
            gains[learned.counts[seen]] += gained
            continue
        learned.keys[seen], learned.counts[seen] = key, merges
        pairs[merges, 0], pairs[merges, 1] = left, right
        products[merges], gains[merges] = product, gained
        merges += 1
    return pairs[:merges].copy(), products[:merges].copy(), gains[:merges].copy()


@njit(cache=True)
def _heap_of(table: _Pairs, least: int) -> list[tuple[int, int]]:
    heap = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for slot in range(len(table.keys)):
        if table.keys[slot] != -1 and table.counts[slot] >= least:
            heap.append((-table.counts[slot], table.keys[slot]))
    heapq.heapify(heap)
    return heap


class _Names(NamedTuple):
    """Which symbol spells what: two ways of merging the same characters give one symbol.

    Attributes:
        lengths: characters of each symbol; units: first symbols it is made of; hashes: of those, a
            polynomial; powers: of its base; keys, symbols: a hash table from hash to symbol.
    """

    lengths: Int32
    units: Int32
    hashes: Int64
    powers: Int64
    keys: Int64
    symbols: Int32


@njit(cache=True)
def _named(lengths: Int32, limit: int) -> tuple[Int32, Int32, Int64, Int64, Int64, Int32]:
    room = len(lengths) + limit + 1
    every = np.zeros(room, np.int32)
    every[: len(lengths)] = lengths
    hashes = np.empty(room, np.int64)
    powers = np.ones(LONGEST + 2, np.int64)
    for index in range(1, len(powers)):
        powers[index] = powers[index - 1] * np.int64(-2975093462096314989)
    size = 1 << 10
    while size < 4 * room:
        size *= 2
    keys, symbols = np.full(size, -1, np.int64), np.empty(size, np.int32)
    for symbol in range(len(lengths)):
        hashes[symbol] = (np.int64(symbol) + 1) * np.int64(-7046029254386353131)
        slot = find_slot(keys, hashes[symbol])
        keys[slot], symbols[slot] = hashes[symbol], symbol
    return every, np.ones(room, np.int32), hashes, powers, keys, symbols


@njit(cache=True)
def _fits(names: _Names, left: int, right: int, longest: int) -> bool:
    return (
        names.lengths[left] + names.lengths[right] <= longest
        and names.units[left] + names.units[right] <= LONGEST
    )


@njit(cache=True)
def _name(names: _Names, left: int, right: int, size: int) -> int:
    """The symbol that spells left and right together: an old one, or `size`."""
    found = names.hashes[left] * names.powers[names.units[right]] + names.hashes[right]
    slot = find_slot(names.keys, found)
    if names.keys[slot] == -1:
        names.keys[slot], names.symbols[slot] = found, size
        names.hashes[size] = found
        names.lengths[size] = names.lengths[left] + names.lengths[right]
        names.units[size] = names.units[left] + names.units[right]
    return np.int32(names.symbols[slot])


@njit(cache=True)
def _merge(
    text: _Text, table: _Pairs, records: _Records, extra: int, merge: tuple[int, int, int]
) -> tuple[int, int, list[int]]:
    """Join `merge`'s left and right to its product wherever they are neighbours.

    Returns:
        tokens saved, records in use, and the keys of the pairs that have come up.
    """
    left, right, product = merge
    slot = find_slot(table.keys, _key(left, right))
    gained, fresh = np.int64(0), [np.int64(0) for _ in range(0)]
    symbols, spans = text.symbols, text.spans
    where = _places(text, records, table.heads[slot])
    if left == right:  # of aaa the first two are joined
        where.sort()
    table.counts[slot], table.heads[slot] = 0, -1
    for place in where:
        middle = place + spans[place]
        if symbols[place] != left or middle >= len(symbols) or symbols[middle] != right:
            continue
        weight, end = np.int64(text.weights[place]), middle + spans[middle]
        gained += weight
        symbols[middle], symbols[place] = INSIDE, product
        spans[place] = spans[end - 1] = end - place
        before = place - spans[place - 1] if place > 0 else place
        if place > 0 and symbols[before] >= 0:
            _forget(table, _key(symbols[before], left), weight)
            key = _key(symbols[before], product)
            extra = _record(text, table, records, extra, (key, before, weight), fresh)
        if end < len(symbols) and symbols[end] >= 0:
            _forget(table, _key(right, symbols[end]), weight)
            key = _key(product, symbols[end])
            extra = _record(text, table, records, extra, (key, place, weight), fresh)
    return gained, extra, fresh


@njit(cache=True)
def _places(text: _Text, records: _Records, record: int) -> list[int]:
    """Where the pair of `record` stood when it was recorded; merges may have changed it since."""
    found = [np.int64(0) for _ in range(0)]
    while record != -1:
        early = record < len(text.symbols)
        found.append(record if early else np.int64(records.places[record - len(text.symbols)]))
        record = np.int64(records.links[record])
    return found


@njit(cache=True)
def _forget(table: _Pairs, key: int, weight: int) -> None:
    slot = find_slot(table.keys, key)
    if table.keys[slot] == key and table.heads[slot] != -1:
        table.counts[slot] -= weight


@njit(cache=True)
def _record(
    text: _Text,
    table: _Pairs,
    records: _Records,
    extra: int,
    found: tuple[int, int, int],
    fresh: list[int],
) -> int:
    key, place, weight = found
    slot = find_slot(table.keys, key)
    table.keys[slot] = key
    if table.heads[slot] == -1 or table.counts[slot] <= 0:
        fresh.append(key)
    table.counts[slot] += weight
    records.places[extra] = place
    records.links[len(text.symbols) + extra] = table.heads[slot]
    table.heads[slot] = len(text.symbols) + extra
    return extra + 1
