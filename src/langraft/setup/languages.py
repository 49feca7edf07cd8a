"""A language from what somebody types: its code, and the Unicode scripts it is written in."""

from __future__ import annotations

import dataclasses
import difflib

import langcodes

from langraft.core.errors import BadInput
from langraft.core.languages import LANGUAGES
from langraft.corpus.scripts import check_scripts

# Unicode's names of the scripts that ISO 15924 codes stand for (PropertyValueAliases.txt of Unicode
# 16); codes that mean several scripts are those of ISO 15924 itself. A script that is not here is
# called by its code, which Unicode accepts as well.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "Hans": ("Han",), "Hant": ("Han",), "Hani": ("Han",), "Hanb": ("Han", "Bopomofo"),
    "Jpan": ("Han", "Hiragana", "Katakana"), "Kore": ("Hangul", "Han"), "Arab": ("Arabic",),
    "Armn": ("Armenian",), "Beng": ("Bengali",), "Cher": ("Cherokee",), "Cyrl": ("Cyrillic",),
    "Deva": ("Devanagari",), "Ethi": ("Ethiopic",), "Geor": ("Georgian",), "Grek": ("Greek",),
    "Gujr": ("Gujarati",), "Guru": ("Gurmukhi",), "Hang": ("Hangul",), "Hebr": ("Hebrew",),
    "Khmr": ("Khmer",), "Knda": ("Kannada",), "Laoo": ("Lao",), "Latn": ("Latin",),
    "Mlym": ("Malayalam",), "Mong": ("Mongolian",), "Mymr": ("Myanmar",), "Orya": ("Oriya",),
    "Sinh": ("Sinhala",), "Syrc": ("Syriac",), "Taml": ("Tamil",), "Telu": ("Telugu",),
    "Tfng": ("Tifinagh",), "Thaa": ("Thaana",), "Thai": ("Thai",), "Tibt": ("Tibetan",),
    "Yiii": ("Yi",),
}  # fmt: skip

# What people type instead of a code.
NAMES = {name.lower(): code for code, name in LANGUAGES.items()}


@dataclasses.dataclass(frozen=True)
class Tongue:
    """A language: its code as recipes write it, and its scripts by their Unicode names."""

    code: str
    scripts: tuple[str, ...]

    @property
    def latin(self) -> bool:
        """Whether it shares its letters with English, which nearly every base was made for."""
        return "Latin" in self.scripts


def find_language(given: str) -> Tongue:
    """The language of a code (`ru`, `zh-Hant`, `uz-Cyrl`) or of an English name.

    The script is the one that Unicode's CLDR calls likely (likelySubtags), unless the code names
    another.

    Raises:
        BadInput: no such language; the nearest names are said.
    """
    typed = given.strip()
    code = NAMES.get(typed.lower(), typed)
    try:
        tag = langcodes.Language.get(code)
        known = bool(typed) and tag.is_valid() and tag.language not in (None, "und", "zxx", "mul")
    except langcodes.LanguageTagError:
        known = False
    if not known:
        near = difflib.get_close_matches(typed.lower(), NAMES, 3)
        hint = (
            "did you mean " + " or ".join(f"{NAMES[n]} ({n})" for n in near)
            if near
            else ("write its ISO 639 code, for example ru, hi or zh")
        )
        raise BadInput(f"language {given!r}: no such language; {hint}")
    whole = tag.maximize()
    script = whole.script or ""
    scripts = SCRIPTS.get(script, (script,))
    check_scripts(scripts)
    return Tongue(str(whole.language), scripts)
