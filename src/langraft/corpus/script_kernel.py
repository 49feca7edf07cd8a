"""How many bytes of letters a text has in each script, and in lines of each script."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from langraft.corpus.fold import HIGHEST, LINE_END
from langraft.corpus.kernels.compiling import compiled

SCRIPTS = (
    *("Han", "Hiragana", "Hangul", "Latin", "Cyrillic", "Arabic", "Devanagari", "Greek", "Hebrew"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Georgian", "Armenian", "Bengali", "Gurmukhi"),
    *("Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Ethiopic"),
    *("Thaana", "Mongolian"),
)
HAN, KANA = SCRIPTS.index("Han"), SCRIPTS.index("Hiragana")
NO_LETTER = len(SCRIPTS)  # also a letter of a script that is not in the table
# Japanese prose is half kana; a Chinese line that quotes a Japanese name is not.
LEAST_KANA = 0.1
LEAST_WORDS = 5
MOST_OTHERS = 0.15  # of the visible characters; English prose has 3 to 6 %, code 20 to 40 %


@functools.cache
def script_table() -> npt.NDArray[np.uint8]:
    """The script's number of every code point below `HIGHEST`; katakana counts as hiragana."""
    table = np.full(HIGHEST, NO_LETTER, np.uint8)
    every = "".join(chr(code) for code in range(HIGHEST) if not 0xD800 <= code < 0xE000)
    for number, script in enumerate(SCRIPTS):
        names = ("Hiragana", "Katakana") if script == "Hiragana" else (script,)
        members = "".join(rf"\p{{Script={name}}}" for name in names)
        for run in regex.finditer(rf"(?V1)[[{members}]&&[\p{{L}}\p{{M}}]]+", every):
            table[ord(run[0][0]) : ord(run[0][-1]) + 1] = number
    table.flags.writeable = False
    return table


@compiled
def line_bytes(codes: Any, offsets: Any, table: Any) -> Any:
    """UTF-8 bytes of the letters in the prose lines of each script, and in all lines of each.

    A line belongs to the script that most of its letters' bytes are in, with all its letters.

    Args:
        codes: the code points of all texts.
        offsets: where each text starts; one more than texts.
        table: `script_table()`.

    Returns:
        Two arrays of shape (texts, scripts): prose lines, all lines.
    """
    prose = np.zeros((len(offsets) - 1, NO_LETTER), np.int64)
    every = np.zeros((len(offsets) - 1, NO_LETTER), np.int64)
    line = np.zeros(NO_LETTER + 1, np.int64)
    for document in range(len(offsets) - 1):
        end = offsets[document + 1]
        letters, others, words, inside = 0, 0, 0, False
        for position in range(offsets[document], end + 1):
            code = codes[position] if position < end else np.uint32(LINE_END)
            script = table[code] if code < HIGHEST else np.uint8(NO_LETTER)
            if script < NO_LETTER:
                size = 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
                line[script] += size
                letters += 1
                inside = True
                continue
            words += inside
            inside = False
            if code == LINE_END:
                total = line.sum()
                if total > 0:
                    script = line_script(line)
                    every[document, script] += total
                    if _is_prose(script, letters, others, words):
                        prose[document, script] += total
                line[:] = 0
                letters, others, words = 0, 0, 0
            elif code != 0x20 and code != 0x3000 and code != 0x09 and code != 0x0D:
                others += 1
    return prose, every


@compiled
def _is_prose(script: Any, letters: Any, others: Any, words: Any) -> Any:
    """Whether a line reads like a sentence and not like code, a path or a table's numbers.

    Where words are written apart, prose has some words and few other characters.
    """
    if script in (HAN, KANA):
        return True
    return words >= LEAST_WORDS and others <= MOST_OTHERS * (letters + others)


@compiled
def line_script(line: Any) -> Any:
    """The script of a line from its letters' bytes by script."""
    if line[HAN] + line[KANA] >= line[:NO_LETTER].max():
        return KANA if line[KANA] >= LEAST_KANA * (line[HAN] + line[KANA]) else HAN
    return np.argmax(line[:NO_LETTER])
