"""Which characters may be joined, which may only be completed, which must stay as they are."""

from __future__ import annotations

import pytest

from langraft.core.errors import BadInput
from langraft.tokenizer.scripts import FOREIGN, SINGLE, WORD, read_scripts


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("中", WORD),
        ("中国", WORD),
        ("〇", WORD),
        ("々", WORD),
        ("𠮷", WORD),
        ("。", SINGLE),
        ("，", SINGLE),
        ("「", SINGLE),
        ("３", SINGLE),
        ("。。", FOREIGN),
        ("中。", FOREIGN),
        (" 中", FOREIGN),
        ("中a", FOREIGN),
        ("中1", FOREIGN),
        ("·", FOREIGN),
        ("—", FOREIGN),
        ("“", FOREIGN),
        ("か", FOREIGN),
        ("한", FOREIGN),
        (",", FOREIGN),
        ("a", FOREIGN),
        ("", FOREIGN),
        ("😀", FOREIGN),
    ],
)
def test_kinds_for_han(text: str, kind: int) -> None:
    assert read_scripts(["Han"]).kind(text.encode()) == kind


@pytest.mark.parametrize(
    ("scripts", "prefix", "allowed"),
    [
        (["Han"], "e4b8", True),  # U+4E00..4E3F, all Han
        (["Han"], "e380", True),  # U+3000..303F, CJK punctuation
        (["Han"], "efbc", True),  # U+FF00..FF3F, full-width forms
        (["Han"], "f0a0", True),  # U+20000..20FFF, extension B
        (["Han"], "e280", False),  # U+2000..203F: dashes and quotes that English has too
        (["Han"], "f09f", False),  # U+1F000..1FFFF: emoji
        (["Han"], "f09f88", False),  # U+1F200..1F23F: emoji-like, one Hiragana among them
        (["Han"], "e381", False),  # U+3040..307F: Hiragana
        (["Han"], "e4b8ade4", False),  # 中 and the first byte of most other characters
        (["Han"], "b8ad", False),  # the tail of any character
        (["Hiragana", "Katakana"], "e382", True),  # U+3080..30BF, both
        (["Hiragana"], "e382", False),  # Katakana would be touched
        (["Devanagari"], "e0a5", True),  # danda is shared by Indic scripts only
        (["Thai"], "e0b8", True),
    ],
)
def test_beginnings_of_characters(scripts: list[str], prefix: str, allowed: bool) -> None:
    assert read_scripts(scripts).allows(bytes.fromhex(prefix)) is allowed


def test_a_shared_letter_joins_and_a_shared_mark_does_not() -> None:
    japanese = read_scripts(["Han", "Hiragana", "Katakana"])
    assert japanese.kind("コーヒー".encode()) == WORD
    assert japanese.kind("東京タワー".encode()) == WORD
    assert japanese.kind("・".encode()) == SINGLE


def test_a_script_with_spaces_takes_one_leading_space() -> None:
    russian = read_scripts(["Cyrillic"])
    assert russian.kind(" мир".encode()) == WORD
    assert russian.kind("  мир".encode()) == FOREIGN
    assert russian.kind("мир ".encode()) == FOREIGN
    assert read_scripts(["Thai"]).kind(" ไทย".encode()) == FOREIGN


def test_an_unknown_script_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="'hann'; did you mean 'Han'"):
        read_scripts(["hann"])
    with pytest.raises(BadInput, match="at least one"):
        read_scripts([])
