"""Script shares against hand counts and against an independent count by character names."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.corpus.scripts import COMMON, check_scripts, script_share


@pytest.mark.parametrize(
    ("text", "scripts", "share"),
    [
        ("中文ab", ["Han"], 0.5),
        ("中文ab12，。", ["Han"], 0.5),
        ("中文ab", ["Han", "Latin"], 1.0),
        ("ひらカナ漢字xy", ["Han", "Hiragana", "Katakana"], 0.75),
        ("привет w", ["Cyrillic"], 6 / 7),
        ("привет w", ["Cyrl"], 6 / 7),
        ("123 ，。", ["Han"], 0.0),
        ("", ["Han"], 0.0),
    ],
)
def test_hand_counts(text: str, scripts: list[str], share: float) -> None:
    assert script_share(text, scripts) == pytest.approx(share)


@given(st.text(st.sampled_from("aßé中文龍привет 12，")))
def test_it_agrees_with_character_names(text: str) -> None:
    letters = [c for c in text if unicodedata.category(c).startswith("L")]
    han = [c for c in letters if unicodedata.name(c).startswith("CJK UNIFIED IDEOGRAPH")]
    assert script_share(text, ["Han"]) == (len(han) / len(letters) if letters else 0.0)


def test_every_suggested_script_is_known() -> None:
    check_scripts(COMMON)


@pytest.mark.parametrize("name", ["Hann", "hna", "Ltn", "", "}", "Han}|.", "中"])
def test_an_unknown_script_is_named(name: str) -> None:
    with pytest.raises(BadInput, match="is not a Unicode script") as caught:
        check_scripts(["Latin", name])
    assert repr(name) in str(caught.value)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(BadInput, match="did you mean 'Cyrillic'"):
        check_scripts(["cyrilic"])
