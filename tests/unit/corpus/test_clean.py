"""Normalisation: worked cases, the code points that stay, a second pass that changes nothing."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langraft.corpus.clean import KEPT, normalise


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("ＡＢＣ１２３％＋", "ABC123%+"),
        ("ｶﾞ ﬁ ㎡ ⼀", "ガ fi m2 一"),
        ("你好，世界！（真的？）：“是”；……～", "你好，世界！（真的？）：“是”；……～"),
        ("10² x₁ 1½ ①②", "10² x₁ 1½ ①②"),
        ("e\u0301", "é"),
        ("一\u3000\u00a0二", "一  二"),
        ("a\r\nb\rc\u2028d\u0085e\x0cf", "a\nb\nc\nd\ne\nf"),
        ("a  \t\nb\u3000\n", "a\nb"),
        ("\n\n a\n\n\n\n\nb\n \n\t\nc\n", " a\n\nb\n\nc"),
        ("\ufeff软\u00ad连\u200b字\x00\x07符\u202e号\u2060", "软连字符号"),
        ("می\u200cخواهم 👨\u200d👩", "می\u200cخواهم 👨\u200d👩"),
        ("\tx = 1\n\n", "\tx = 1"),
        ("", ""),
        (" \n\r\n\u3000", ""),
    ],
)
def test_worked_cases(raw: str, clean: str) -> None:
    assert normalise(raw, "nfkc") == clean


def test_none_changes_nothing() -> None:
    raw = "ＡＢＣ \r\n\n\n\n\ufeff"
    assert normalise(raw, "none") == raw


# hypothesis rarely draws what this code looks at, so half of the characters come from here
INTERESTING = "，（…²½①¨￣ \t\n\r\x0b\x85\u2028\u3000\ufeff\u200b\u0301\u0308ＡｶﾞﬁᄀＡ각é가\u115f"
TEXTS = st.text(st.one_of(st.sampled_from(INTERESTING), st.characters(exclude_categories=["Cs"])))


@given(TEXTS)
@example("…\u0301")
@example("\r\x00\n")
@example("\u1100\u200b\u1161")
def test_a_second_pass_changes_nothing(text: str) -> None:
    once = normalise(text, "nfkc")
    assert normalise(once, "nfkc") == once


@given(TEXTS)
def test_no_unwanted_character_is_left(text: str) -> None:
    clean = normalise(text, "nfkc")
    assert not re.search("[\r\x0b\x0c\x85\u2028\u2029\ufeff\u200b]|[ \t]\n|\n\n\n", clean)
    assert clean == clean.strip("\n")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"])))
def test_it_is_nfkc_where_nothing_is_kept(text: str) -> None:
    bare = re.sub(f"[{KEPT}]", "", text)
    assert normalise(bare, "nfkc") == unicodedata.normalize("NFKC", bare).rstrip(" ")


def test_no_compatibility_form_holds_a_kept_character() -> None:
    """What makes the second pass split the text at the same places as the first."""
    kept = {
        character for character in map(chr, range(0x110000)) if re.match(f"[{KEPT}]", character)
    }
    assert len(kept) == 295
    for character in map(chr, range(0x110000)):
        if character not in kept:
            assert not kept & set(unicodedata.normalize("NFKC", character)), hex(ord(character))


def test_a_long_run_of_spaces_costs_linear_time() -> None:
    started = time.monotonic()
    assert len(normalise("一" + " " * 2_000_000 + "二", "nfkc")) == 2_000_002
    assert time.monotonic() - started < 2
