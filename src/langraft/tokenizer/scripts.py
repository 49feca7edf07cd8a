"""Which characters new pieces may hold: Unicode scripts by name, with their own punctuation."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import regex

from langraft.core.errors import BadInput
from langraft.tokenizer.alphabet import completions, split_partial

# Scripts written without spaces between words. In every other script a word's leading space may
# belong to its piece.
UNSPACED = frozenset(
    {"Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Yi"}
)
CJK = frozenset({"Han", "Hiragana", "Katakana", "Bopomofo", "Hangul"})
# CJK symbols and punctuation, vertical and small forms, full-width forms: Unicode files most of
# them under "Common".
CJK_PUNCTUATION = r"\u3000-\u303F\uFE30-\uFE6F\uFF00-\uFFEF"
# Marks that Latin text has too are old text, unless they stand in the blocks of other scripts, as
# the accents of Devanagari do.
SHARED_WITH_LATIN = r"\p{Script_Extensions=Latin}--[\u0370-\u1AAF\uFF00-\uFFEF]"
NAMES = """
Arabic Armenian Bengali Bopomofo Cherokee Cyrillic Devanagari Ethiopic Georgian Greek
Gujarati Gurmukhi Han Hangul Hebrew Hiragana Kannada Katakana Khmer Lao Latin Malayalam
Mongolian Myanmar Oriya Sinhala Syriac Tamil Telugu Thaana Thai Tibetan Tifinagh Yi
"""

WORD, SINGLE, FOREIGN = 1, 2, 0


@dataclasses.dataclass(frozen=True)
class Scripts:
    """The characters of the new language.

    Attributes:
        names: Unicode script names, for example ("Han",).
        mixed: whether a piece may also hold Latin letters and digits beside those characters.
    """

    names: tuple[str, ...]
    mixed: bool = False

    @staticmethod
    def code_points(pattern: str) -> npt.NDArray[np.int64]:
        """Every code point that `pattern`, for one character, matches."""
        return np.array([ord(found) for found in regex.findall(pattern, _every())], np.int64)

    @functools.cached_property
    def letters(self) -> regex.Pattern[str]:
        """One character that may join others: of the scripts, or a letter they share (`ー`)."""
        own = "".join(rf"\p{{Script={name}}}" for name in self.names)
        shared = "".join(rf"\p{{Script_Extensions={name}}}" for name in self.names)
        return regex.compile(rf"(?V1)[{own}[[{shared}]&&[\p{{L}}\p{{M}}]]--[\p{{P}}\p{{Nd}}]]")

    @functools.cached_property
    def owned(self) -> regex.Pattern[str]:
        """One character of the new language alone: of the scripts, or their own punctuation."""
        shared = "".join(rf"\p{{Script_Extensions={name}}}" for name in self.names)
        marks = CJK_PUNCTUATION if CJK & set(self.names) else ""
        old = "" if "Latin" in self.names else rf"--[\p{{ASCII}}[{SHARED_WITH_LATIN}]]"
        blocks = "".join(map(_block, self.names))
        return regex.compile(rf"(?V1)[[{shared}{marks}{blocks}]{old}]")

    @functools.cached_property
    def spaced(self) -> bool:
        """Whether a piece may begin with the space in front of its word."""
        return not UNSPACED & set(self.names)

    @functools.cached_property
    def word(self) -> regex.Pattern[str]:
        """A whole string that may be part of a longer piece."""
        return regex.compile(
            (" ?" if self.spaced else "") + f"(?:{self.letters.pattern.removeprefix('(?V1)')})+",
            regex.V1,
        )

    def kind(self, data: bytes) -> int:
        """WORD when `data` may be joined to its neighbours, SINGLE when it is one punctuation mark,
        else FOREIGN.
        """
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return FOREIGN
        if self.word.fullmatch(text):
            return WORD
        return SINGLE if len(text) == 1 and self.owned.fullmatch(text) else FOREIGN

    def allows(self, data: bytes) -> bool:
        """Whether a merge that produces `data`, whole or the beginning of a character, can touch no
        foreign text.

        An unfinished character is allowed when every assigned character that it can become is the
        scripts' own.
        """
        if self.kind(data) != FOREIGN:
            return True
        parts = split_partial(data)
        if parts is None or not parts[1]:
            return False
        text, tail = parts
        lead = not text or (self.spaced and text == " ") or self.word.fullmatch(text) is not None
        return lead and self._owns(tail)

    def _owns(self, prefix: bytes) -> bool:
        characters = [chr(point) for point in completions(prefix) if not 0xD800 <= point < 0xE000]
        assigned = [c for c in characters if unicodedata.category(c) not in ("Cn", "Co")]
        return bool(assigned) and all(self.owned.fullmatch(c) for c in assigned)


def _block(name: str) -> str:
    """The Unicode block named like the script, if there is one: it holds the script's accents."""
    try:
        regex.compile(rf"\p{{Block={name}}}")
    except regex.error:
        return ""
    return rf"\p{{Block={name}}}"


@functools.cache
def _every() -> str:
    points = (point for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    return "".join(map(chr, points))


def read_scripts(names: Sequence[str], *, mixed: bool = False) -> Scripts:
    """Check the script names of a recipe.

    Raises:
        BadInput: no name, or one that Unicode does not know; the nearest known name is given.
    """
    if not names:
        raise BadInput("scripts: give at least one Unicode script, for example Han")
    for name in names:
        try:
            regex.compile(rf"\p{{Script={name}}}")
        except regex.error:
            near = difflib.get_close_matches(name.capitalize(), NAMES.split(), n=1)
            hint = (
                f"; did you mean {near[0]!r}?"
                if near
                else "; known are Han, Cyrillic, Devanagari, ..."
            )
            raise BadInput(f"scripts: Unicode knows no script {name!r}{hint}") from None
    return Scripts(tuple(names), mixed)
