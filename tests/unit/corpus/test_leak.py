"""A near copy of a held-out text is recognised by the lines they share."""

from __future__ import annotations

import pytest

from langraft.corpus.kernels.texts import Texts
from langraft.corpus.leak import HeldOutLines as Held


class HeldOutLines:
    def __init__(self, texts: list[str]) -> None:
        self.held = Held(Texts.of(texts))

    def largest_share(self, text: str) -> float:
        return float(self.held.largest_shares(Texts.of(["另一篇没有关系的文章", text]))[1])


ARTICLES = [f"第{n}条 本条例的第{n}项规定自公布之日起施行。" for n in range(10)]


def test_the_share_is_of_the_shorter_text() -> None:
    guard = HeldOutLines(["\n".join(ARTICLES[:4])])
    size = sum(map(len, ARTICLES[:4]))
    assert guard.largest_share("\n".join(ARTICLES)) == 1.0  # the held-out text is part of this one
    assert guard.largest_share(ARTICLES[2]) == 1.0
    half = "\n".join([*ARTICLES[:2], *ARTICLES[6:8]])
    assert guard.largest_share(half) == pytest.approx(sum(map(len, ARTICLES[:2])) / size)
    assert guard.largest_share("\n".join(ARTICLES[5:])) == 0.0


def test_the_best_match_counts_not_the_sum() -> None:
    guard = HeldOutLines(["\n".join(ARTICLES[0:4]), "\n".join(ARTICLES[4:8])])
    text = "\n".join([ARTICLES[0], ARTICLES[4], ARTICLES[8], ARTICLES[9]])
    assert guard.largest_share(text) == pytest.approx(0.25)


def test_short_lines_are_shared_by_chance() -> None:
    guard = HeldOutLines(["第一章 总则\n第二章\n" + ARTICLES[0]])
    assert guard.largest_share("第一章 总则\n第二章\n" + ARTICLES[1]) == 0.0
    assert guard.largest_share("第一章 总则") == 0.0
