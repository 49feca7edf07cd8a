"""Every measurement against a case worked by hand; n-gram shares against a slow, literal count."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.measures import Measured


def test_tokens_are_characters_or_words() -> None:
    text = "我用Python3写了2个ひらxyz。ภาษา naïve e\u0301x"
    expected = [*"我用", "Python3", *"写了", "2", *"个ひら", "xyz", *"ภาษา", "naïve", "e\u0301x"]
    assert Measured(text).token_list == expected


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("tokens", "一二 three 4。", 4),
        ("digit_share", "ab 12\n345，", 5 / 8),
        ("symbol_share", "ab，（1）+ ", 4 / 7),
        ("garbage_share", "ab\ufffd\ue000 中", 2 / 5),
        ("duplicate_line_share", "a\n b\nb \n\nb\nc", 2 / 5),
        ("duplicate_line_character_share", "aaaa\nbb\nbb\n\nbb\nc", 4 / 11),
        ("short_line_share", "一二三四\n五六七八九\n\none two", 6 / 11),
    ],
)
def test_hand_counts(name: str, text: str, value: float) -> None:
    assert getattr(Measured(text), name)() == pytest.approx(value)


@pytest.mark.parametrize("text", ["", " \n ", "，。！"])
def test_a_text_without_words_measures_zero(text: str) -> None:
    measured = Measured(text, ("Han",))
    assert measured.tokens() == measured.script_share() == measured.digit_share() == 0
    assert measured.top_ngram_share(2) == measured.repeated_ngram_share(5) == 0
    assert measured.short_line_share() == 0


def test_top_ngram_share_by_hand() -> None:
    # "the cat" comes 3 times: 3 x 6 letters of 22
    text = Measured("the cat, the cat; the cat owns a")
    assert text.top_ngram_share(2) == pytest.approx(18 / 23)
    assert Measured("一二三四五六").top_ngram_share(2) == 0


def test_repeated_ngram_share_by_hand() -> None:
    # the second 一二三 repeats the first: 3 of 8 characters
    assert Measured("一二三四一二三五").repeated_ngram_share(3) == pytest.approx(3 / 8)
    # 哈 x 10: the windows of 3 from the second on are repeats and cover 9 characters
    assert Measured("哈" * 10).repeated_ngram_share(3) == pytest.approx(9 / 10)


def literal_repeated(tokens: list[str], n: int) -> float:
    covered: set[int] = set()
    seen: set[tuple[str, ...]] = set()
    for start in range(len(tokens) - n + 1):
        gram = tuple(tokens[start : start + n])
        if gram in seen:
            covered.update(range(start, start + n))
        seen.add(gram)
    total = sum(map(len, tokens))
    return sum(len(tokens[i]) for i in covered) / total if total else 0.0


def literal_top(tokens: list[str], n: int) -> set[float]:
    """Every share that a most frequent sequence may have: sequences can tie."""
    grams = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    most = max(grams.values(), default=0)
    if most < 2:
        return {0.0}
    total = sum(map(len, tokens))
    return {min(1.0, most * sum(map(len, g)) / total) for g, c in grams.items() if c == most}


@given(st.lists(st.sampled_from(["一", "二", "ab", "c", "，"]), max_size=60), st.integers(1, 7))
def test_ngram_shares_equal_a_literal_count(parts: list[str], n: int) -> None:
    measured = Measured(" ".join(parts))
    tokens = [part for part in parts if part != "，"]
    assert measured.token_list == tokens
    assert measured.repeated_ngram_share(n) == pytest.approx(literal_repeated(tokens, n))
    assert any(measured.top_ngram_share(n) == pytest.approx(s) for s in literal_top(tokens, n))
