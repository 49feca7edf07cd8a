"""Normalisation: one way to write a character, a line end and a paragraph break."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# NFKC folds full-width letters and digits, ligatures, half-width kana and compatibility ideographs,
# which is wanted. It also rewrites what carries meaning or is simply how the language is written;
# these code points stay as they are.
KEPT = (
    "！（），：；？［］｛｝～"  # Chinese and Japanese punctuation: NFKC would make it ASCII
    "…‥"  # the Chinese ellipsis …… would become six full stops
    "²³¹⁰-ₜ"  # superscripts and subscripts: 10² would become 102
    "¼-¾⅐-⅟↉"  # fractions: 1½ would become 11⁄2
    "①-⓿㉑-㉟㊀-㊉㊱-㊿"  # circled numbers: 第①条 is not 第1条, and ①0 is not 10
    "¨¯´¸˘-˝‗‾￣"  # spacing accents: NFKC would make each a space and a loose combining mark
)
_KEPT_RUN = re.compile(f"([{KEPT}]+)")

# Invisible characters that only break matching: controls, soft hyphen, zero-width space, word
# joiner, byte order mark, bidirectional embeddings and overrides. The joiners U+200C and U+200D
# stay: Persian, Indic scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]+"
)
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANK_LINES = re.compile("\n{3,}")


def normalise(text: str, method: Literal["nfkc", "none"]) -> str:
    """Bring `text` into one form; doing it twice changes nothing more.

    `nfkc`: Unicode NFKC except the code points in `KEPT`; no control or invisible characters; every
    line end `\\n`; no spaces or tabs at line ends; at most one blank line in a row; none at the
    start or the end. `none`: unchanged.
    """
    if method == "none":
        return text
    text = _LINE_END.sub("\n", _INVISIBLE.sub("", text))
    if not text.isascii():
        text = _compose(text)
    # not the regex `[ \t]+$`, which takes quadratic time on a long run of spaces inside a line
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


def _compose(text: str) -> str:
    """NFKC of everything between runs of `KEPT`.

    No NFKC form holds a kept character, so a second pass splits alike and changes nothing.
    """
    parts = _KEPT_RUN.split(text)
    parts[::2] = [unicodedata.normalize("NFKC", part) for part in parts[::2]]
    return "".join(parts)
