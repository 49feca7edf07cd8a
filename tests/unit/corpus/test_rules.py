"""The tables, their overrides, and one text for every reason to drop."""

from __future__ import annotations

from pathlib import Path

import pytest

from langraft.core.errors import BadInput
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.rules import RULES, TABLES, Thresholds, Verdict, thresholds, thresholds_for
from langraft.corpus.rules import judge as judge_all


def judge(text: str, limits: Thresholds) -> Verdict:
    return judge_all(Texts.of([text]), limits)[0]


# 60 different characters, then whatever a rule looks for
PLAIN = "".join(chr(0x4E00 + 7 * n) for n in range(60))
OTHER = "".join(chr(0x6000 + 7 * n) for n in range(60))
WORDS = " ".join(f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(80))

DROPPED = {
    "min_tokens": ("zh", PLAIN[:49], 49),
    "min_script_share": ("zh", PLAIN + "abcdefgh" * 23, 60 / 244),
    "max_digit_share": ("zh", PLAIN + "1" * 21, 21 / 81),
    "max_symbol_share": ("zh", PLAIN + "+" * 41, 41 / 101),
    "max_garbage_share": ("zh", PLAIN + "\ufffd", 1 / 61),
    "max_html_share": ("zh", PLAIN + "<br/>" * 6 + "&nbsp;", 36 / 96),
    "max_run_share": ("zh", PLAIN + "啊" * 16, 16 / 76),
    "max_duplicate_line_share": ("zh", "\n".join([PLAIN, OTHER, "一二", "一二", "一二"]), 2 / 5),
    "max_duplicate_line_character_share": (
        "zh",
        "\n".join([PLAIN, PLAIN, OTHER, *OTHER[:5]]),
        60 / 185,
    ),
    "max_short_line_share": ("zh", PLAIN[:40] + "\n" + "\n".join(OTHER[:41]), 41 / 81),
    "max_top_2gram_share": ("en", WORDS + " verylong indeed" * 10, None),
    "max_top_4gram_share": ("zh", PLAIN + "啊哦" * 20, None),
    "max_repeated_20gram_share": ("zh", PLAIN + OTHER + PLAIN[:25], 25 / 145),
    "max_repeated_10gram_share": ("en", WORDS + "." + " ".join(WORDS.split()[:12]), 36 / 276),
}


@pytest.mark.parametrize("reason", DROPPED)
def test_each_rule_drops_its_text_and_names_itself(reason: str) -> None:
    table, text, value = DROPPED[reason]
    verdict = judge(text, thresholds(table))
    assert (verdict.kept, verdict.reason) == (False, reason)
    assert verdict.limit == {row.key: row.limit for row in TABLES[table].rows}[reason]
    if value is not None:
        assert verdict.value == pytest.approx(value)
    # without this one rule the text would have passed it
    off = 0 if reason.startswith("min_") else 1
    assert judge(text, thresholds(table, {reason: off})).reason != reason


def test_every_rule_of_a_table_has_a_text_that_it_drops() -> None:
    assert {row.key for table in TABLES.values() for row in table.rows} == set(DROPPED)


def test_a_rule_that_no_table_has_can_be_switched_on() -> None:
    text = " ".join([WORDS, *WORDS.split()[:20]])
    assert judge(text, thresholds("en", {"max_repeated_10gram_share": 1})).kept
    limits = thresholds("en", {"max_repeated_10gram_share": 1, "max_repeated_5gram_share": 0.15})
    assert judge(text, limits).reason == "max_repeated_5gram_share"


def test_a_limit_itself_is_allowed() -> None:
    assert judge(PLAIN[:50], thresholds("zh")).kept
    assert judge(PLAIN + "1" * 20, thresholds("zh")).kept  # exactly a quarter


def test_tables_are_sound() -> None:
    for name, table in TABLES.items():
        keys = [row.key for row in table.rows]
        assert len(set(keys)) == len(keys) and set(keys) <= set(RULES)
        assert all(row.source for row in table.rows)
        assert list(thresholds(name).limits) == [key for key in RULES if key in keys]
    assert set(RULES) >= {key for table in TABLES.values() for key, _, _ in table.rows}


@pytest.mark.parametrize(
    ("language", "expected", "least"),
    [("zh", "zh", 10), ("en", "en", 50), ("sw", "any", 20)],
)
def test_the_language_of_a_source_chooses_its_table(
    language: str, expected: str, least: int
) -> None:
    limits = thresholds_for(language, "zh", "zh", {"min_tokens": 10})
    assert (limits.table, limits.limits["min_tokens"]) == (expected, least)


def test_the_recipe_names_the_table_of_a_language_that_has_none() -> None:
    assert thresholds_for("sw", "sw", "en", {}).table == "en"


@pytest.mark.parametrize(
    ("table", "overrides", "message"),
    [
        ("zhh", {}, "no table is called 'zhh'; did you mean 'zh'"),
        ("klingon", {}, "known: zh, en, any"),
        ("zh", {"min_token": 5}, "no rule is called 'min_token'; did you mean 'min_tokens'"),
        ("zh", {"max_digit_share": 25}, "max_digit_share: 25 is not a share between 0 and 1"),
        ("zh", {"max_digit_share": float("nan")}, "nan is not a share"),
        ("zh", {"min_tokens": -1}, "min_tokens: -1"),
        ("any", {"min_script_share": 0.5}, "names no scripts; only 'zh', 'en'"),
    ],
)
def test_bad_tables_and_overrides(table: str, overrides: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        thresholds(table, overrides)


def test_the_texts_above_are_what_they_claim() -> None:
    assert len(set(PLAIN + OTHER)) == 120
    assert judge(PLAIN, thresholds("zh")).kept and judge(WORDS, thresholds("en")).kept


def test_the_guide_states_the_tables(root: Path) -> None:
    guide = (root / "docs" / "corpus.md").read_text(encoding="utf-8")
    stated: dict[str, dict[str, float]] = {name: {} for name in ("zh", "en", "any")}
    for line in guide.splitlines():
        if not line.startswith(("| `min_", "| `max_")):
            continue
        rule, *limits = line.strip("|").split("|")
        for name, limit in zip(stated, limits, strict=True):
            if number := limit.strip(" ᴳᶠ"):
                stated[name][rule.split("`")[1]] = float(number)
                mark = {"ᴳ": "Gopher", "ᶠ": "FineWeb-2"}.get(limit.strip()[-1], "own")
                source = next(r.source for r in TABLES[name].rows if r.key == rule.split("`")[1])
                assert source.startswith(mark)
    assert stated == {name: {r.key: r.limit for r in table.rows} for name, table in TABLES.items()}
