"""The compiled part of decontamination: hashes of every n-gram of tokens, and a look-up of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from langraft.corpus.fold import HIGHEST, LINE_END, WORD
from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.hashing import MIX, PRIME

Gram = npt.NDArray[np.uint64]
FILTER_BITS = 24  # 2 MB of bits stay in the processor's cache and answer most look-ups with no
LEAST = 3  # tokens of a text that is looked up as a whole because it has one line only


class Index(NamedTuple):
    """A hash table of grams with open addressing.

    Attributes:
        keys: the grams at their places, 0 where there is none; a power of two long.
        numbers: the number of each gram in the sorted order.
        sieve: one bit for each value of a gram's top bits; a gram whose bit is 0 is not in `keys`.
    """

    keys: Gram
    numbers: npt.NDArray[np.int64]
    sieve: npt.NDArray[np.uint8]


NOTHING = Index(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint8))


def hash_table(grams: Gram) -> Index:
    """A table of distinct, sorted, non-zero `grams`, at most half full."""
    size = 1 << max(4, int(2 * len(grams)).bit_length())
    index = Index(
        np.zeros(size, np.uint64),
        np.zeros(size, np.int64),
        np.zeros((1 << FILTER_BITS) // 8, np.uint8),
    )
    _fill(grams, index)
    return index


@compiled
def _fill(grams: Any, index: Any) -> None:
    mask = np.uint64(len(index.keys) - 1)
    for number in range(len(grams)):
        gram = grams[number]
        place = gram & mask
        while index.keys[place] != 0:
            place = (place + np.uint64(1)) & mask
        index.keys[place] = gram
        index.numbers[place] = number
        bit = gram >> np.uint64(64 - FILTER_BITS)
        index.sieve[bit >> np.uint64(3)] |= np.uint8(1 << (bit & np.uint64(7)))


@compiled
def _number(gram: Any, index: Any) -> Any:
    """The number of `gram` in `index`, or -1; without an index, the gram itself."""
    if len(index.keys) == 0:
        return np.int64(gram)
    mask = np.uint64(len(index.keys) - 1)
    place = gram & mask
    while index.keys[place] != 0:
        if index.keys[place] == gram:
            return index.numbers[place]
        place = (place + np.uint64(1)) & mask
    return np.int64(-1)


@compiled
def _mixed(value: Any) -> Any:
    """splitmix64's finaliser (Steele, Lea, Flood 2014); never 0 for our use, see callers."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def _possible(gram: Any, sieve: Any) -> Any:
    """Whether a gram may be in the index: almost always the whole answer. It stands apart from
    `_row`, because handing arrays back for every token costs more than all else.
    """
    if len(sieve) == 0:
        return True
    bit = gram >> np.uint64(64 - FILTER_BITS)
    return (sieve[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7)) & 1) != 0


@compiled
def _row(rows: Any, count: Any, document: Any, gram: Any, start: Any, stop: Any, index: Any) -> Any:
    """Write a match behind the `count` rows there are, if `gram` is one; the rows, maybe moved."""
    number = _number(gram, index)
    if number == -1 and len(index.keys) > 0:
        return rows, count
    if count == len(rows):
        longer = np.empty((2 * count, 4), np.int64)
        longer[:count] = rows
        rows = longer
    rows[count, 0], rows[count, 1] = document, number
    rows[count, 2], rows[count, 3] = start, stop
    return rows, count + 1


@compiled
def _token(codes: Any, position: Any, end: Any, table: Any) -> Any:
    """The hash of the token that starts at `position`, and where it ends."""
    entry = table[codes[position]]
    token = np.uint64(entry & 0x3FFFFFFF)
    position += 1
    if entry >> 30 == WORD:
        while position < end and codes[position] < HIGHEST:
            entry = table[codes[position]]
            if entry >> 30 != WORD:
                break
            token = token * np.uint64(PRIME) + np.uint64(entry & 0x3FFFFFFF)
            position += 1
    return _mixed(token), position


@compiled
def scan(codes: Any, offsets: Any, table: Any, n: int, shortest: int, index: Any) -> Any:
    """Every run of `n` tokens that `index` holds, and every line of `shortest` to `n - 1` tokens
    (of `LEAST`, where the line is the whole text) that it holds as a whole.

    Args:
        codes: the code points of all texts.
        offsets: where each text starts; one more than texts.
        table: `fold_table()`.
        n: tokens of a gram.
        shortest: tokens of the shortest line to look up.
        index: what to look for; `NOTHING` gives every gram.

    Returns:
        Rows of document, gram (its number in the index, or its 64 bits), first character, one past
        the last character; in the order of the text.
    """
    power = np.uint64(1)
    for _ in range(n):
        power *= np.uint64(MIX)
    hashes, starts = np.zeros(n, np.uint64), np.zeros(n, np.int64)
    sieve = index.sieve
    rows, count = np.empty((1024, 4), np.int64), 0
    for document in range(len(offsets) - 1):
        begin, end = offsets[document], offsets[document + 1]
        rolling, line = np.uint64(0), np.uint64(0)
        tokens, line_tokens, line_start, slot = 0, 0, 0, 0
        position = stop = begin
        while position <= end:
            code = codes[position] if position < end else np.uint32(LINE_END)
            if code >= HIGHEST or table[code] == 0:
                if code == LINE_END:
                    alone = position == end and tokens == line_tokens
                    if (LEAST if alone else shortest) <= line_tokens < n:
                        whole = _mixed(line + np.uint64(line_tokens)) | np.uint64(1)
                        if _possible(whole, sieve):
                            at, to = line_start - begin, stop - begin
                            rows, count = _row(rows, count, document, whole, at, to, index)
                    line, line_tokens = np.uint64(0), 0
                position += 1
                continue
            start = position
            token, position = _token(codes, position, end, table)
            stop = position
            # the polynomial of the last n tokens: shifted, one in, one out
            rolling = rolling * np.uint64(MIX) + token - hashes[slot] * power
            hashes[slot], starts[slot] = token, start
            line = line * np.uint64(MIX) + token
            if line_tokens == 0:
                line_start = start
            tokens, line_tokens = tokens + 1, line_tokens + 1
            slot = slot + 1 if slot + 1 < n else 0  # now of the oldest of the n tokens
            gram = _mixed(rolling) | np.uint64(1)
            if tokens >= n and _possible(gram, sieve):
                at = starts[slot] - begin
                rows, count = _row(rows, count, document, gram, at, stop - begin, index)
        hashes[:] = 0
    return rows[:count]
