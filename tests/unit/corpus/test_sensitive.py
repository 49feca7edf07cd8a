"""Term lists: their format, their limits, and the sample that comes with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from langraft.core.errors import BadInput
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.sensitive import Detector, Limit, read_lists

LIST = """# a remark
# category: games
# limit: 2
六合彩
Online Casino

# category: names
# limit: 1 per 10
王五
# category: counted
赌
"""


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    (tmp_path / "list.txt").write_text(LIST, encoding="utf-8-sig")
    return Detector(read_lists([tmp_path / "list.txt"]))


def test_mentions_are_counted_by_category_in_any_case(detector: Detector) -> None:
    assert detector.counts("ONLINE casino，六合彩，王五赌") == {
        "games": 2,
        "names": 1,
        "counted": 1,
    }
    assert detector.counts("六合") == {}


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("六合彩" * 2, ""),
        ("六合彩" * 3, "games"),
        ("王五" + "文" * 8, ""),  # one in ten characters
        ("王五" * 2 + "文" * 6, "names"),
        ("王五" * 2 + "文" * 16, ""),  # two in twenty
        ("赌" * 50, ""),  # no limit: counted only
        ("", ""),
    ],
)
def test_limits(detector: Detector, text: str, broken: str) -> None:
    assert detector.judge(Texts.of([text]))[0][1] == broken


def test_a_short_text_is_judged_as_if_it_had_the_limits_length() -> None:
    assert not Limit(1, 10_000).broken(1, 4)
    assert Limit(1, 10_000).broken(2, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("六合彩\n", r"list\.txt:1: the term '六合彩' stands before any category"),
        ("# category: a\n# limit: many\nx\n", r"list\.txt:2: 'many' is no limit"),
        ("# category: a\n", "holds no new term"),
        ("", "holds no new term"),
    ],
)
def test_broken_lists_name_the_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        read_lists([path])


def test_one_term_may_stand_in_two_categories(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("# category: a\nx\n# category: b\nx\ny\n")
    two.write_text("# category: a\nz\n")
    lists = read_lists([one, two])
    assert lists.terms == {"x": ("a", "b"), "y": ("b",), "z": ("a",)}


def test_the_sample_list_can_be_read_and_drops_what_it_names(root: Path) -> None:
    lists = read_lists([root / "data/sensitive/neutral-sample.txt"])
    assert len(lists.limits) >= 3
    assert {type(limit) for limit in lists.limits.values()} == {Limit, type(None)}  # shows both
    spam = next(term for term, held in lists.terms.items() if "gambling" in held)
    assert Detector(lists).judge(Texts.of([spam * 9]))[0][1] == "gambling"
    assert Detector(lists).judge(Texts.of(["今天天气很好。" * 20]))[0] == ({}, "")
