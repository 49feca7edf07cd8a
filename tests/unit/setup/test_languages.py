"""Languages by code and by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.corpus.scripts import check_scripts
from langraft.setup.languages import NAMES, SCRIPTS, find_language


@pytest.mark.parametrize(
    ("given", "code", "scripts"),
    [
        ("zh", "zh", ("Han",)),
        ("zh-Hant", "zh", ("Han",)),
        ("ja", "ja", ("Han", "Hiragana", "Katakana")),
        ("ko", "ko", ("Hangul", "Han")),
        ("Russian", "ru", ("Cyrillic",)),
        (" hindi ", "hi", ("Devanagari",)),
        ("uz", "uz", ("Latin",)),
        ("uz-Cyrl", "uz", ("Cyrillic",)),
        ("chr", "chr", ("Cherokee",)),
        ("nqo", "nqo", ("Nkoo",)),  # a script by its code where the table has no name
        ("yo", "yo", ("Latin",)),
    ],
)
def test_code_and_scripts(given: str, code: str, scripts: tuple[str, ...]) -> None:
    found = find_language(given)
    assert (found.code, found.scripts) == (code, scripts)
    assert found.latin == ("Latin" in scripts)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_known_scripts(name: str) -> None:
    check_scripts(find_language(name).scripts)


def test_every_script_is_unicodes() -> None:
    for names in SCRIPTS.values():
        check_scripts(names)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rusian", r"did you mean ru \(russian\)"),
        ("xx", "ISO 639 code"),
        ("", "ISO 639 code"),
        ("und", "no such language"),
        ("zxx", "no such language"),
        ("12", "no such language"),
    ],
)
def test_no_such_language(given: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        find_language(given)


@given(st.text(max_size=12))
def test_anything_typed_is_a_language_or_one_message(typed: str) -> None:
    try:
        found = find_language(typed)
    except BadInput:
        return
    check_scripts(found.scripts)
