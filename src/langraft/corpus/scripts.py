"""Which Unicode scripts a text is written in."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence

import regex

from langraft.core.errors import BadInput

# Only to suggest a spelling; every script that the `regex` library knows is accepted.
COMMON = (
    *(
        "Arabic",
        "Armenian",
        "Bengali",
        "Bopomofo",
        "Cherokee",
        "Cyrillic",
        "Devanagari",
        "Ethiopic",
    ),
    *(
        "Georgian",
        "Greek",
        "Gujarati",
        "Gurmukhi",
        "Han",
        "Hangul",
        "Hebrew",
        "Hiragana",
        "Kannada",
    ),
    *("Katakana", "Khmer", "Lao", "Latin", "Malayalam", "Mongolian", "Myanmar", "Oriya", "Sinhala"),
    *("Syriac", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan", "Yi"),
)
_LETTERS = regex.compile(r"\p{L}+")


def check_scripts(names: Sequence[str]) -> None:
    """Check that every name is a Unicode script (`Han`, `Latin`, or a four-letter code such as
    `Cyrl`).

    Raises:
        BadInput: one is not; the message names it and the nearest known name.
    """
    for name in names:
        try:
            known = (
                name.isascii()
                and name.replace("_", "").isalpha()
                and bool(regex.compile(rf"\p{{Script={name}}}"))
            )
        except regex.error:
            known = False
        if not known:
            near = difflib.get_close_matches(name.capitalize(), COMMON, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"common ones: {', '.join(COMMON)}"
            raise BadInput(f"{name!r} is not a Unicode script; {hint}")


def script_share(text: str, scripts: Sequence[str]) -> float:
    """The share of the letters (Unicode category L) of `text` that belong to one of `scripts`, 0 to
    1.

    A text without letters has share 0.

    Raises:
        BadInput: a script's name is unknown.
    """
    letters = _characters(_LETTERS, text)
    return _characters(_letters_of(tuple(scripts)), text) / letters if letters else 0.0


def _characters(pattern: regex.Pattern[str], text: str) -> int:
    return sum(map(len, pattern.findall(text)))


@functools.cache
def _letters_of(scripts: tuple[str, ...]) -> regex.Pattern[str]:
    check_scripts(scripts)
    members = "".join(rf"\p{{Script={name}}}" for name in scripts)
    return regex.compile(rf"(?V1)[[{members}]&&\p{{L}}]+")
