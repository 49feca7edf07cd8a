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
from langraft.corpus.kernels.markup import BASIS, ENTITIES, PRIME, TAGS, html_share, names
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

_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd


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
def _fnv(value: Any, part: Any) -> Any:
    return (value ^ np.uint64(part)) * np.uint64(PRIME)


@inlined
def _slot(key: Any, mask: Any) -> Any:
    value = key * np.uint64(_MIX)
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
    hashes, lengths = np.empty(largest, np.uint64), np.empty(largest, np.int32)
    room = np.int64(32)
    while room < 2 * largest:
        room *= 2
    cells = np.empty(room, np.uint64)
    keys, owners = np.empty(room, np.uint64), np.zeros(room, np.int32)
    amounts = np.empty(256, np.int64)
    for text in range(texts):
        row, start, end = out[text], offsets[text], offsets[text + 1]
        tokens = _scan(
            data, start, end, kinds, bits, row, hashes, lengths, keys, owners, text + 1, amounts
        )
        if row[11]:
            row[11] = html_share(data, start, end, tags, entities)
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
def _scan(  # one pass over the characters: splitting it up would decode them several times
    data: Any,
    start: Any,
    end: Any,
    kinds: Any,
    classes: Any,
    row: Any,
    hashes: Any,
    lengths: Any,
    keys: Any,
    owners: Any,
    epoch: Any,
    amounts: Any,
) -> Any:
    """Fill the columns that are no n-grams; returns how many tokens were written."""
    tokens = letters = target = visible = white = digits = wording = punctuation = garbage = 0
    lines = repeats = line_characters = repeat_characters = short = punctuated = ends = 0
    in_line = line_size = line_end_size = 0  # tokens, characters to here and to the last visible
    run = run_total = characters = 0
    word = markup = False
    line_hash = line_hash_end = np.uint64(BASIS)
    previous = np.int64(0)
    last_bits = np.uint16(0)
    amounts[:] = 0
    at = start
    mask = np.int64(1)
    while mask < 2 * (end - start) and mask < len(keys):
        mask *= 2
    mask -= 1
    while True:
        finished = at >= end
        if finished:
            point, following = np.int64(10), at
        else:
            point, following = decode(data, at)
        if point == 10:
            if line_end_size:
                lines += 1
                line_characters += line_end_size
                if _seen(line_hash_end, keys, owners, epoch, mask):
                    repeats += 1
                    repeat_characters += line_end_size
                if in_line < SHORT_LINE:
                    short += in_line
                punctuated += (last_bits & TERMINAL) != 0
            in_line = line_size = line_end_size = 0
            line_hash = np.uint64(BASIS)
            word = False
        if finished:
            break
        at = following
        kind = kinds[point]
        bits = classes[kind]
        amounts[kind] += 1
        ends += point == 10
        markup |= point == 60 or point == 38
        if point != 10 and (line_size or (bits & SPACE) == 0):
            line_size += 1
            line_hash = _fnv(line_hash, point)
            if (bits & SPACE) == 0:
                line_end_size, line_hash_end, last_bits = line_size, line_hash, bits
        if point == previous and bits & LETTER:
            run += 1
        else:
            run = 1
        if bits & LETTER:
            if run == RUN:
                run_total += RUN
            elif run > RUN:
                run_total += 1
        previous = point
        if bits & UNSPACED_BIT:
            hashes[tokens], lengths[tokens] = _fnv(np.uint64(BASIS), point), 1
            tokens += 1
            in_line += 1
            word = False
        elif bits & WORD:
            if word:
                hashes[tokens - 1] = _fnv(hashes[tokens - 1], point)
                lengths[tokens - 1] += 1
            else:
                hashes[tokens], lengths[tokens] = _fnv(np.uint64(BASIS), point), 1
                tokens += 1
                in_line += 1
                word = True
        else:
            word = False
    for kind in range(len(classes)):
        bits, amount = classes[kind], amounts[kind]
        characters += amount
        white += amount if bits & WHITE else 0
        wording += amount if bits & (WORD | WHITE) else 0
        digits += amount if bits & DIGIT else 0
        punctuation += amount if bits & PUNCTUATION else 0
        garbage += amount if bits & GARBAGE else 0
        letters += amount if bits & LETTER else 0
        target += amount if bits & TARGET else 0
    visible = characters - white
    row[0] = tokens
    row[1] = target / letters if letters else 0.0
    row[2] = digits / max(1, visible)
    row[3] = 1 - (wording - white) / visible if visible else 0.0
    row[4] = punctuation / max(1, visible)
    row[5] = garbage / max(1, visible)
    row[6] = repeats / max(1, lines)
    row[7] = repeat_characters / max(1, line_characters)
    row[8] = short / max(1, tokens)
    row[9] = punctuated / max(1, lines)
    row[10] = ends / max(1, tokens)
    row[11] = markup
    row[12] = run_total / max(1, visible)
    return tokens


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
