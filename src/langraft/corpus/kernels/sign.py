"""Fingerprints: the bytes that an exact key is made of, and MinHash signatures with their bands.

Broder 1997, "On the resemblance and containment of documents"; bands as in Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3. A shingle is a run of n tokens in lower case, a
token one character of a script written without spaces or one word elsewhere: character n-grams for
Chinese, word n-grams for English, both in a mixed text, and no tokenizer is needed.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled, inlined
from langraft.corpus.kernels.copying import room
from langraft.corpus.kernels.hashing import BASIS, MIX, PRIME, fnv
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.kernels.unicode import (
    SPACE,
    SPACE_BYTE,
    SPACE_START,
    UNSPACED_BIT,
    WORD,
    classes,
    decode,
    lower,
    space_bytes,
)

KEY_BYTES = 16  # 64 bits are too short: at 5 billion documents one collision is expected
_SEED = 0x5EED


class Signatures(NamedTuple):
    """The fingerprints of N texts.

    Attributes:
        bands: (N, bands) 64-bit keys; texts with one in common may be near duplicates.
        agreement: (N, bands * rows) 16 bits of every minimum; the share of equal ones estimates the
            Jaccard similarity of the two sets of shingles.
        shingles: how many shingles each text has; one without any is like no other.
    """

    bands: npt.NDArray[np.uint64]
    agreement: npt.NDArray[np.uint16]
    shingles: npt.NDArray[np.int64]


def document_keys(texts: Texts) -> list[bytes]:
    """The 128-bit BLAKE2b hash of every text without its white space: layout does not make a
    document new.
    """
    out = room("without space", len(texts.data))
    ends = _without_space(texts.data, texts.offsets, classes(), space_bytes(), out)
    view = memoryview(out)
    return [
        hashlib.blake2b(view[start:end], digest_size=KEY_BYTES).digest()
        for start, end in itertools.pairwise(ends.tolist())
    ]


def signatures(texts: Texts, bands: int, rows: int, ngram: int) -> Signatures:
    """MinHash signatures of `bands * rows` permutations over shingles of `ngram` tokens.

    A text of fewer tokens is one shingle. The permutations are fixed: the same text has the same
    signature on every machine.
    """
    draw = np.random.default_rng(_SEED)
    multipliers = draw.integers(0, 2**32, bands * rows, np.uint32) | np.uint32(1)
    addends = draw.integers(0, 2**32, bands * rows, np.uint32)
    return Signatures(
        *_sign(
            texts.data, texts.offsets, classes(), lower(), multipliers, addends, bands, rows, ngram
        )
    )


@compiled
def _without_space(data: Any, offsets: Any, table: Any, spaces: Any, out: Any) -> Any:
    places = np.zeros(len(offsets), np.int64)
    size = np.uint64(0)  # no index below 0, which the compiler would look out for
    for text in range(len(offsets) - 1):
        part = data[offsets[text] : offsets[text + 1]]
        white = 0  # bytes of a space that are still to be passed over
        for at in range(len(part)):
            byte = part[at]
            if spaces[byte] == SPACE_START:
                point, following = decode(part, at)
                if table[point] & SPACE:
                    white = following - at
            if white:
                white -= 1
                continue
            out[size] = byte
            size += np.uint64(spaces[byte] != SPACE_BYTE)
        places[text + 1] = size
    return places


@inlined
def _finish(value: Any) -> Any:
    value ^= value >> np.uint64(32)
    value *= np.uint64(MIX)
    return value ^ (value >> np.uint64(29))


@compiled
def _sign(
    data: Any,
    offsets: Any,
    table: Any,
    small: Any,
    multipliers: Any,
    addends: Any,
    bands: Any,
    rows: Any,
    ngram: Any,
) -> Any:
    texts, width = len(offsets) - 1, len(multipliers)
    keys = np.zeros((texts, bands), np.uint64)
    agreement = np.zeros((texts, width), np.uint16)
    shingles = np.zeros(texts, np.int64)
    largest = np.int64(16)
    for text in range(texts):
        largest = max(largest, offsets[text + 1] - offsets[text])
    hashes = np.empty(largest, np.uint64)
    found = np.empty(largest, np.uint32)
    minima = np.empty(width, np.uint32)
    for text in range(texts):
        tokens = _tokens(data, offsets[text], offsets[text + 1], table, small, hashes)
        if tokens == 0:
            continue
        count = _shingles(hashes, tokens, min(ngram, tokens), found)
        shingles[text] = count
        minima[:] = np.uint32(0xFFFFFFFF)
        for index in range(count):
            value = found[index]
            for lane in range(width):
                hashed = np.uint32(multipliers[lane] * value + addends[lane])
                minima[lane] = min(minima[lane], hashed)
        for lane in range(width):
            agreement[text, lane] = np.uint16(_finish(np.uint64(minima[lane])) >> np.uint64(8))
        for band in range(bands):
            key = np.uint64(band + 1)
            for lane in range(band * rows, (band + 1) * rows):
                key = _finish(key * np.uint64(PRIME) + np.uint64(minima[lane]))
            keys[text, band] = key
    return keys, agreement, shingles


@compiled
def _tokens(data: Any, start: Any, end: Any, table: Any, small: Any, hashes: Any) -> Any:
    tokens = 0
    word = False
    at = start
    while at < end:
        point, at = decode(data, at)
        bits = table[point]
        if bits & UNSPACED_BIT:
            hashes[tokens] = fnv(np.uint64(BASIS), point)
            tokens += 1
            word = False
        elif bits & WORD:
            if not word:
                hashes[tokens] = np.uint64(BASIS)
                tokens += 1
                word = True
            hashes[tokens - 1] = fnv(hashes[tokens - 1], small[point])
        else:
            word = False
    return tokens


@compiled
def _shingles(hashes: Any, tokens: Any, n: Any, found: Any) -> Any:
    """32 bits of every run of `n` tokens; returns how many there are."""
    leaving = np.uint64(1)
    for _ in range(n):
        leaving *= np.uint64(MIX)
    key = np.uint64(0)
    count = 0
    for index in range(tokens):
        key = key * np.uint64(MIX) + hashes[index]
        if index >= n:
            key -= leaving * hashes[index - n]
        if index >= n - 1:
            found[count] = np.uint32(_finish(key) >> np.uint64(16))
            count += 1
    return count
