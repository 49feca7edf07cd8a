"""What many texts look like in numbers: the measurements that the rules put limits on.

Every share lies between 0 and 1. A token is one character of a script written without spaces, or a
run of other letters, marks and numbers; a line is what stands between line ends, without white
space around it, and counts only if something is left.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from langraft.corpus.kernels.compiling import compiled, inlined
from langraft.corpus.kernels.hashing import BASIS, MIX, fnv
from langraft.corpus.kernels.markup import ENTITIES, TAGS, html_share, names
from langraft.corpus.kernels.repetition import repeated_share, top_share
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.kernels.unicode import (
    DIGIT,
    GARBAGE,
    LETTER,
    PUNCTUATION,
    SPACE,
    TERMINAL,
    UNSPACED_BIT,
    WHITE,
    WORD,
    classes,
    decode,
    mark,
)

LINE_END = ord("\n")
MARKUP = (ord("<"), ord("&"))  # without either there is no tag and no entity
TARGET = 2048  # a letter of the scripts asked for
SHORT_LINE = 5  # tokens
RUN = 5  # times the same letter

# The columns that every measurement has; those of n-grams follow.
COLUMNS = (
    "tokens",
    "script_share",
    "digit_share",
    "symbol_share",
    "punctuation_share",
    "garbage_share",
    "duplicate_line_share",
    "duplicate_line_character_share",
    "short_line_share",
    "punctuated_line_share",
    "line_ends_per_token",
    "html_share",
    "run_share",
)
N_COLUMNS = len(COLUMNS)


def measure(
    texts: Texts, scripts: Sequence[str], top: Sequence[int], repeated: Sequence[int]
) -> npt.NDArray[np.float64]:
    """One row a text: the `COLUMNS`, then the share of the most frequent n-gram for every n of
    `top`, then the share of repeated n-grams for every n of `repeated`.

    n-grams follow Rae et al. 2021 (Gopher, arXiv 2112.11446), table A1: shares of the tokens'
    characters. Of equally frequent n-grams the longest counts; one that comes once does not count.
    A character in several repeated n-grams counts once.
    """
    return _measure(
        texts.data,
        texts.offsets,
        *_classes_with(tuple(scripts)),
        names(TAGS),
        names(ENTITIES),
        np.array(top, np.int64),
        np.array(repeated, np.int64),
    )


@functools.cache
def _classes_with(
    scripts: tuple[str, ...],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """The class of every code point, and the bits of every class: there are about forty."""
    table = classes().copy()
    if scripts:
        members = "".join(rf"\p{{Script={regex.escape(name)}}}" for name in scripts)
        mark(table, rf"[[{members}]&&\p{{L}}]+", TARGET)
    bits, kinds = np.unique(table, return_inverse=True)
    return kinds.astype(np.uint8), bits


@inlined
def _slot(key: Any, mask: Any) -> Any:
    value = key * np.uint64(MIX)
    return np.int64((value ^ (value >> np.uint64(29))) >> np.uint64(7)) & mask


@compiled
def _measure(
    data: Any,
    offsets: Any,
    kinds: Any,
    bits: Any,
    tags: Any,
    entities: Any,
    top: Any,
    repeated: Any,
) -> Any:
    texts = len(offsets) - 1
    out = np.zeros((texts, N_COLUMNS + len(top) + len(repeated)), np.float64)
    largest = np.int64(16)
    for text in range(texts):
        largest = max(largest, offsets[text + 1] - offsets[text])
    points, kind = np.empty(largest, np.int32), np.empty(largest, np.uint8)
    hashes, lengths = np.empty(largest, np.uint64), np.empty(largest, np.int32)
    room = np.int64(32)
    while room < 2 * largest:
        room *= 2
    cells = np.empty(room, np.uint64)
    keys, owners = np.empty(room, np.uint64), np.zeros(room, np.int32)
    for text in range(texts):
        row, start, end = out[text], offsets[text], offsets[text + 1]
        size = _decoded(data, start, end, kinds, points, kind)
        _characters(points, kind, size, bits, row)
        if row[11]:
            row[11] = html_share(data, start, end, tags, entities)
        _lines(points, kind, size, bits, row, keys, owners, text + 1)
        tokens = _tokens(points, kind, size, bits, row, hashes, lengths)
        characters = 0
        for index in range(tokens):
            characters += lengths[index]
        for index in range(len(top)):
            row[N_COLUMNS + index] = top_share(
                hashes, lengths, tokens, characters, top[index], cells
            )
        for index in range(len(repeated)):
            row[N_COLUMNS + len(top) + index] = repeated_share(
                hashes, lengths, tokens, characters, repeated[index], cells
            )
    return out


@compiled
def _decoded(data: Any, start: Any, end: Any, kinds: Any, points: Any, kind: Any) -> Any:
    """Write the code points of a text and their kinds; returns how many there are. What follows
    reads these, so that no pass has to decode again.
    """
    size, at = 0, start
    while at < end:
        point, at = decode(data, at)
        points[size], kind[size] = point, kinds[point]
        size += 1
    return size


@compiled
def _characters(points: Any, kind: Any, size: Any, classes: Any, row: Any) -> None:
    """Fill the columns that are shares of characters; and whether there may be markup."""
    amounts = np.zeros(256, np.int64)
    run = run_total = 0
    markup = False
    previous = np.int32(0)
    for index in range(size):
        point, bits = points[index], classes[kind[index]]
        amounts[kind[index]] += 1
        markup |= point == MARKUP[0] or point == MARKUP[1]
        run = run + 1 if point == previous else 1
        previous = point
        if bits & LETTER and run >= RUN:
            run_total += RUN if run == RUN else 1
    target, letters = _amount(amounts, classes, TARGET), _amount(amounts, classes, LETTER)
    white = _amount(amounts, classes, WHITE)
    visible = size - white
    row[1] = target / letters if letters else 0.0
    row[2] = _amount(amounts, classes, DIGIT) / max(1, visible)
    words = _amount(amounts, classes, WORD | WHITE) - white
    row[3] = 1 - words / visible if visible else 0.0
    row[4] = _amount(amounts, classes, PUNCTUATION) / max(1, visible)
    row[5] = _amount(amounts, classes, GARBAGE) / max(1, visible)
    row[11] = markup
    row[12] = run_total / max(1, visible)


@inlined
def _amount(amounts: Any, classes: Any, wanted: Any) -> Any:
    """How many characters are of the class `wanted`."""
    total = 0
    for kind in range(len(classes)):
        if classes[kind] & wanted:
            total += amounts[kind]
    return total


@compiled
def _tokens(
    points: Any, kind: Any, size: Any, classes: Any, row: Any, hashes: Any, lengths: Any
) -> Any:
    """Write the hash and the length of every token, and the columns that are shares of tokens;
    returns how many there are.
    """
    tokens = short = ends = line = 0
    word = False
    for index in range(size):
        bits = classes[kind[index]]
        goes_on = word
        word = bits & (WORD | UNSPACED_BIT) == WORD
        if word and goes_on:
            hashes[tokens - 1] = fnv(hashes[tokens - 1], points[index])
            lengths[tokens - 1] += 1
        elif bits & (WORD | UNSPACED_BIT):
            hashes[tokens], lengths[tokens] = fnv(np.uint64(BASIS), points[index]), 1
            tokens += 1
        elif points[index] == LINE_END:
            short += tokens - line if tokens - line < SHORT_LINE else 0
            line = tokens
            ends += 1
    short += tokens - line if tokens - line < SHORT_LINE else 0
    row[0] = tokens
    row[8] = short / max(1, tokens)
    row[10] = ends / max(1, tokens)
    return tokens


@compiled
def _lines(
    points: Any,
    kind: Any,
    size: Any,
    classes: Any,
    row: Any,
    keys: Any,
    owners: Any,
    epoch: Any,
) -> None:
    """Fill the columns that are shares of lines."""
    lines = repeats = characters = repeat_characters = punctuated = 0
    held = visible = 0  # characters of the line, to here and to the last visible one
    value = visible_value = np.uint64(BASIS)
    last = np.uint16(0)
    mask = np.int64(1)
    while mask < 2 * size and mask < len(keys):
        mask *= 2
    mask -= 1
    for index in range(size + 1):
        if index == size or points[index] == LINE_END:
            if visible:
                lines += 1
                characters += visible
                if _seen(visible_value, keys, owners, epoch, mask):
                    repeats += 1
                    repeat_characters += visible
                punctuated += (last & TERMINAL) != 0
            held = visible = 0
            value = np.uint64(BASIS)
            continue
        bits = classes[kind[index]]
        space = (bits & SPACE) != 0
        if held or not space:
            held += 1
            value = fnv(value, points[index])
            if not space:
                visible, visible_value, last = held, value, bits
    row[6] = repeats / max(1, lines)
    row[7] = repeat_characters / max(1, characters)
    row[9] = punctuated / max(1, lines)


@compiled
def _seen(key: Any, keys: Any, owners: Any, epoch: Any, mask: Any) -> Any:
    """Whether `key` was asked for before in this epoch."""
    slot = _slot(key, mask)
    while owners[slot] == epoch:
        if keys[slot] == key:
            return True
        slot = (slot + 1) & mask
    owners[slot], keys[slot] = epoch, key
    return False
