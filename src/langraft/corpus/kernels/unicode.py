"""What a kernel needs to know of every code point, as arrays indexed by it."""

from __future__ import annotations

import functools
import sys
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from langraft.corpus.kernels.compiling import inlined

CODE_POINTS = sys.maxunicode + 1
# Planes 0 to 3, and the tags and selectors of plane 14; the rest is unassigned or private.
ASSIGNED = ((0, 0x40000), (0xE0000, 0xE0200))

# A token: one character of a script written without spaces, or a run of other letters and digits.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"

WHITE = 1  # white space as Unicode has it
SPACE = 2  # what str.isspace says: white space and the four information separators
DIGIT = 4
WORD = 8  # letters, marks and numbers
UNSPACED_BIT = 16
LETTER = 32
PUNCTUATION = 64
GARBAGE = 128  # U+FFFD, private use, unassigned: a wrong decoding leaves such characters
HAN = 256
LATIN = 512
TERMINAL = 1024  # ends a sentence, or closes what may follow its end

# The punctuation of CJK, of Latin and of the scripts of South Asia, with closing quotes and
# brackets behind it.
TERMINAL_CHARACTERS = ".!?;:…。．！？；：\"'”’」』）)】》〉.~～।॥؟۔"

_PATTERNS = {
    WHITE: r"\s+",
    DIGIT: r"\p{Nd}+",
    WORD: r"[\p{L}\p{M}\p{N}]+",
    UNSPACED_BIT: rf"[{UNSPACED}]+",
    LETTER: r"\p{L}+",
    PUNCTUATION: r"\p{P}+",
    GARBAGE: r"[\uFFFD\p{Co}\p{Cn}]+",
    HAN: r"\p{Script=Han}+",
    LATIN: r"\p{Script=Latin}+",
}


@functools.cache
def every_character() -> str:
    """All code points in order; half pairs, which no file holds, are replaced by NUL."""
    points = np.arange(CODE_POINTS, dtype="<u4")
    points[0xD800:0xE000] = 0
    return points.tobytes().decode("utf-32-le")


@functools.cache
def classes() -> npt.NDArray[np.uint16]:
    """The bits of every code point."""
    table = np.zeros(CODE_POINTS, np.uint16)
    for bit, pattern in _PATTERNS.items():
        mark(table, pattern, bit)
    for character in every_character()[:0x3001]:
        if character.isspace():
            table[ord(character)] |= SPACE
    for character in TERMINAL_CHARACTERS:
        table[ord(character)] |= TERMINAL
    return table


SPACE_BYTE, SPACE_START = 1, 2


@functools.cache
def space_bytes() -> npt.NDArray[np.uint8]:
    """The bytes that are white space (`SPACE`) as UTF-8 (`SPACE_BYTE`) or begin some
    (`SPACE_START`): what begins otherwise need not be decoded to look for it.
    """
    found = np.zeros(256, np.uint8)
    for point in np.flatnonzero(classes() & SPACE).tolist():
        found[chr(point).encode()[0]] = SPACE_BYTE if point < 128 else SPACE_START
    found.flags.writeable = False
    return found


def mark(table: npt.NDArray[Any], pattern: str, bit: int) -> None:
    """Set `bit` for every code point that `pattern` (a run of characters) matches."""
    run = regex.compile(f"(?V1){pattern}")
    for first, last in ASSIGNED:
        for found in run.finditer(every_character()[first:last]):
            table[first + found.start() : first + found.end()] |= bit
    if run.match(chr(ASSIGNED[0][1])):
        table[ASSIGNED[0][1] : ASSIGNED[1][0]] |= bit
        table[ASSIGNED[1][1] :] |= bit


@functools.cache
def lower() -> npt.NDArray[np.int32]:
    """Every code point's lower case where that is one code point, else itself."""
    table = np.arange(CODE_POINTS, dtype=np.int32)
    for found in regex.finditer(r"[\p{Lu}\p{Lt}]", every_character()):
        small = found[0].lower()
        if len(small) == 1:
            table[found.start()] = ord(small)
    return table


@functools.cache
def seconds() -> frozenset[int]:
    """Code points that canonical composition may join to the one before them, or reorder."""
    found = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    for match in regex.finditer(r"[\p{M}\p{L}\p{S}]", every_character()):
        parts = unicodedata.decomposition(match[0]).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(int(parts[1], 16))
        if unicodedata.combining(match[0]):
            found.add(match.start())
    return frozenset(found)


@inlined
def decode(data: Any, at: Any) -> Any:
    """The code point that starts at `data[at]`, and where the next one starts; the bytes are valid
    UTF-8.
    """
    first = np.int64(data[at])
    if first < 0x80:
        return first, at + 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), at + 2
    low = (np.int64(data[at + 1]) & 0x3F) << 6 | (np.int64(data[at + 2]) & 0x3F)
    if first < 0xF0:
        return (first & 0x0F) << 12 | low, at + 3
    return (first & 0x07) << 18 | low << 6 | (np.int64(data[at + 3]) & 0x3F), at + 4
