"""Text as numbers for kernels: one folded code point and one class a character, by table look-up.

Two spellings of one text fold alike: capitals, full-width letters and digits, punctuation and
white space do not count. That is what decontamination compares and what the linear scorer reads.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]

BREAK, WORD, SINGLE = 0, 1, 2  # what a code point is: no token, a part of a word, a token by itself
LINE_END = ord("\n")
BATCH = 4 << 20  # characters a kernel call
HIGHEST = 0x32400  # planes 0 to 3 as far as ideographs are assigned; above: no letters but variants

# Scripts written without spaces between words: each character is a token. (Marks and digits of
# these scripts stand with their letters here, which `kernels.unicode` does not need.)
_UNSPACED = (
    (0x0E01, 0x0EDF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17DC),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3041, 0x30FA),  # kana
    (0x30FC, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x1B000, 0x1B16F),
    (0x20000, HIGHEST),
)


@functools.cache
def fold_table() -> Codes:
    """For every code point below `HIGHEST`: its lower-case, half-width form and, in the two top
    bits, its class.

    A character whose compatible form is longer than one character stands for itself.
    """
    table = np.zeros(HIGHEST, np.uint32)
    for code in range(HIGHEST):
        character = chr(code)
        if unicodedata.category(character)[0] in "LNM":
            lowered = unicodedata.normalize("NFKC", character).lower()
            folded = ord(lowered) if len(lowered) == 1 else code
            table[code] = folded | WORD << 30
    for first, last in _UNSPACED:
        block = table[first : last + 1]
        letters = block > 0
        block[letters] = block[letters] & 0x3FFFFFFF | np.uint32(SINGLE << 30)
    table.flags.writeable = False
    return table


def code_points(texts: Sequence[str]) -> tuple[Codes, npt.NDArray[np.int64]]:
    """All texts' code points in one array, and where each text starts (one offset more than
    texts).
    """
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
    encoding = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"
    codes = np.frombuffer("".join(texts).encode(encoding, "surrogatepass"), np.uint32)
    return codes, offsets


def batches(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """The texts in runs of about `BATCH` characters, each with the number of its first text."""
    start = size = 0
    for stop, text in enumerate(texts):
        if stop > start and size + len(text) > BATCH:
            yield start, texts[start:stop]
            start, size = stop, 0
        size += len(text)
    if texts:
        yield start, texts[start:]
