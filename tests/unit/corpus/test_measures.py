"""Every measurement against a case worked by hand; n-gram shares against a slow, literal count."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import regex
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from reference_measures import Measured

from langraft.corpus.kernels.measure import COLUMNS, measure
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.kernels.unicode import CODE_POINTS, every_character, mark
from langraft.corpus.rules import RULES, Thresholds, judge, thresholds


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


TOP, REPEATED = (2, 4), (3, 20)
MARKUP = "<br> <b&lt;&#39;</div ><x>&nbsp <A href='中'>"


def reference(text: str, scripts: tuple[str, ...]) -> list[float]:
    found = Measured(text, scripts)
    return [
        *(getattr(found, name)() for name in COLUMNS),
        *(found.top_ngram_share(n) for n in TOP),
        *(found.repeated_ngram_share(n) for n in REPEATED),
    ]


@given(
    st.lists(
        st.text(
            st.one_of(
                st.sampled_from("的的是一 \n\n\t\x1c\u3000ab1,。？<>&;" + MARKUP),
                st.characters(exclude_categories=["Cs"]),
            ),
            max_size=120,
        ),
        max_size=4,
    )
)
def test_the_kernel_agrees_with_the_reference_on_any_unicode(texts: list[str]) -> None:
    found = measure(Texts.of(texts), ("Han",), TOP, REPEATED)
    for row, text in zip(found.tolist(), texts, strict=True):
        assert row == pytest.approx(reference(text, ("Han",)), abs=1e-9)


def test_the_kernel_agrees_on_markup() -> None:
    texts = [
        MARKUP,
        MARKUP * 3,
        "<p>一</p>&amp;&hellip;&#x2f;<p",
        "a<b c>d</b>",
        "&;&#;&#12345678;",
    ]
    found = measure(Texts.of(texts), (), TOP, REPEATED)
    assert found[:, COLUMNS.index("html_share")].tolist() == pytest.approx(
        [Measured(text).html_share() for text in texts]
    )
    assert found[0, COLUMNS.index("html_share")] > 0


def test_agreement_on_real_text(material: Path) -> None:
    """All columns of 1,000 documents of each of four corpora: at least 99.9 % of verdicts equal."""
    documents = verdicts = 0
    for name in ("zh/noisy_xda_mt", "zh/oi_wiki", "zh/noisy_reviews", "en/nltk_corpora"):
        with zstandard.open(
            material / "corpora" / f"{name}.jsonl.zst", "rt", encoding="utf-8"
        ) as f:
            texts = [json.loads(line)["text"][:2_000] for line in itertools.islice(f, 1_000)]
        limits = thresholds("en" if name.startswith("en") else "zh")
        for text, verdict in zip(texts, judge(Texts.of(texts), limits), strict=True):
            measured = reference_values(text, limits)
            broken = next(
                (
                    k
                    for k, v in measured.items()
                    if (v < limits.limits[k]) == k.startswith("min_") and v != limits.limits[k]
                ),
                "",
            )
            documents += 1
            verdicts += broken == verdict.reason
    assert documents > 3_000 and verdicts / documents >= 0.999


def reference_values(text: str, limits: Thresholds) -> dict[str, float]:
    found = Measured(text, limits.scripts)
    values = {}
    for key in limits.limits:
        place = RULES[key]
        if isinstance(place, str):
            values[key] = getattr(found, place)()
        else:
            values[key] = getattr(found, f"{place[0]}_ngram_share")(place[1])
    return values


@pytest.mark.parametrize("pattern", [r"\p{L}+", r"[\uFFFD\p{Co}\p{Cn}]+", r"\p{M}+"])
def test_classes_are_marked_for_every_code_point(pattern: str) -> None:
    found = np.zeros(CODE_POINTS, np.uint16)
    mark(found, pattern, 1)
    expected = np.zeros(CODE_POINTS, np.uint16)
    for match in regex.finditer(pattern, every_character()):
        expected[match.start() : match.end()] = 1
    assert (found == expected).all()
