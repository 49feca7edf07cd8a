"""Normalisation: worked cases, the code points that stay, a second pass that changes nothing."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langraft.corpus.clean import (
    FULL_WIDTH,
    INVISIBLE,
    LINE_ENDS,
    clean,
    normalise,
    repair,
    simplify,
)
from langraft.corpus.clean import KEPT as ALWAYS_KEPT
from langraft.corpus.kernels.normal import normalised, table
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.kernels.unicode import every_character
from langraft.recipe import Clean

KEPT = ALWAYS_KEPT + FULL_WIDTH


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
    assert normalise(raw, KEPT, False) == clean


def test_none_changes_nothing() -> None:
    raw = "ＡＢＣ \r\n\n\n\n\ufeff"
    assert list(clean(Texts.of([raw]), Clean(normalise="none"))) == [raw]


def test_full_width_punctuation_is_folded_on_request() -> None:
    texts = Texts.of(["你好，世界（真的）……①"])
    assert list(clean(texts, Clean())) == ["你好，世界（真的）……①"]
    assert list(clean(texts, Clean(full_width="fold"))) == ["你好,世界(真的)……①"]


def test_single_spaces_leave_indentation() -> None:
    texts = Texts.of(["  a  b\t\tc \n\tx   = 1"])
    assert list(clean(texts, Clean(single_spaces=True))) == ["  a b c\n\tx = 1"]


def compiled(texts: list[str], single: bool = False) -> list[str]:
    """What the kernel makes of texts, the hard ones left to the reference as `clean` does."""
    found, hard = normalised(Texts.of(texts), table(KEPT, INVISIBLE, LINE_ENDS), single)
    return [normalise(t, KEPT, single) if n in hard else found[n] for n, t in enumerate(texts)]


def test_the_kernel_agrees_on_every_code_point() -> None:
    everything = every_character()  # nothing is assigned between planes 3 and 14 but as below
    characters = [*everything[:0x32400], *everything[0x32400::499], *everything[0xE0000:0xE0200]]
    assert compiled(characters) == [normalise(c, KEPT, False) for c in characters]
    _, hard = normalised(Texts.of(characters), table(KEPT, INVISIBLE, LINE_ENDS), False)
    assert len(hard) < 1_300  # combining marks and Hangul letters; all else is done compiled


def test_mojibake_is_repaired_only_where_suspected() -> None:
    broken = [
        text.encode().decode("cp1252")
        for text in ("François mange du pâté", "naïve, café: “yes", "汉字很好")
    ]
    texts = ["Å Ã one é alone Ã", "普通的中文", "çà et là", "naïve café"]
    assert list(repair(Texts.of([*broken, *texts]))) == [
        "François mange du pâté",
        "naïve, café: “yes",
        "汉字很好",
        *texts,
    ]


def test_traditional_characters_become_simplified() -> None:
    texts = ["漢語與臺灣的書籍", "plain", "汉语"]
    assert list(simplify(Texts.of(texts))) == ["汉语与台湾的书籍", "plain", "汉语"]


# hypothesis rarely draws what this code looks at, so half of the characters come from here
INTERESTING = "，（…²½①¨￣ \t\n\r\x0b\x85\u2028\u3000\ufeff\u200b\u0301\u0308ＡｶﾞﬁᄀＡ각é가\u115f"
TEXTS = st.text(st.one_of(st.sampled_from(INTERESTING), st.characters(exclude_categories=["Cs"])))


@given(TEXTS)
@example("…\u0301")
@example("\r\x00\n")
@example("\u1100\u200b\u1161")
def test_a_second_pass_changes_nothing(text: str) -> None:
    once = normalise(text, KEPT, False)
    assert normalise(once, KEPT, False) == once


@given(st.lists(TEXTS, max_size=4), st.booleans())
@example(["\u1100\u200b\u1161", "é\u0301"], False)
def test_the_kernel_agrees_with_the_reference(texts: list[str], single: bool) -> None:
    once = compiled(texts, single)
    assert once == [normalise(text, KEPT, single) for text in texts]
    assert compiled(once, single) == once  # a second pass changes nothing


@given(TEXTS)
def test_no_unwanted_character_is_left(text: str) -> None:
    clean = normalise(text, KEPT, False)
    assert not re.search("[\r\x0b\x0c\x85\u2028\u2029\ufeff\u200b]|[ \t]\n|\n\n\n", clean)
    assert clean == clean.strip("\n")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"])))
def test_it_is_nfkc_where_nothing_is_kept(text: str) -> None:
    bare = re.sub(f"[{KEPT}]", "", text)
    assert normalise(bare, KEPT, False) == unicodedata.normalize("NFKC", bare).rstrip(" ")


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
    assert len(normalise("一" + " " * 2_000_000 + "二", KEPT, False)) == 2_000_002
    assert time.monotonic() - started < 2
