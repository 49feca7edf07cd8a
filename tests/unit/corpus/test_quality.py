"""Scorers put clean text above noise, cuts keep the shares they promise."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.corpus.quality.cuts import Shares, cut_of, shares
from langraft.corpus.quality.linear import auc, load_linear, train_linear
from langraft.corpus.quality.ngram import NO_TEXT, NgramScorer, train_ngram
from langraft.corpus.quality.scorer import ModelScorer

TextsOf = Callable[..., list[str]]


def test_ziya2_keeps_the_best_sixty_percent() -> None:
    perplexities = [float(n) for n in range(10)]
    cut = cut_of(perplexities, shares("ziya2"), higher_is_better=False)
    assert [cut.grade(score) for score in perplexities] == ["high"] * 3 + ["medium"] * 3 + [
        "low"
    ] * 4
    cut = cut_of(perplexities, shares("ziya2"), higher_is_better=True)
    assert [cut.grade(score) for score in reversed(perplexities)] == (
        ["high"] * 3 + ["medium"] * 3 + ["low"] * 4
    )
    cut = cut_of(perplexities, shares("none"), higher_is_better=True)
    assert {cut.grade(score) for score in perplexities} == {"medium"}


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.booleans(),
)
def test_a_cut_keeps_at_least_what_was_asked_and_splits_no_ties(
    scores: list[float], high: float, medium: float, higher: bool
) -> None:
    cut = cut_of(scores, Shares(high, medium, ""), higher)
    grades = [cut.grade(score) for score in scores]
    assert grades.count("high") >= round(high * len(scores))
    assert grades.count("low") <= len(scores) - round((high + medium) * len(scores))
    rank = {"high": 2, "medium": 1, "low": 0}
    for one, grade in zip(scores, grades, strict=True):
        for other, another in zip(scores, grades, strict=True):
            if one == other:
                assert grade == another
            elif (one > other) == higher:
                assert rank[grade] >= rank[another]


@pytest.mark.parametrize(
    ("scores", "wanted", "reason"),
    [
        ([], Shares(0.3, 0.3, ""), "without scores"),
        ([1.0, math.nan], Shares(0.3, 0.3, ""), "numbers"),
        ([1.0], Shares(0.8, 0.3, ""), "no shares of one"),
    ],
)
def test_cuts_are_checked(scores: list[float], wanted: Shares, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        cut_of(scores, wanted, True)
    with pytest.raises(BadInput, match="no cut is called 'ziya3'"):
        shares("ziya3")


def test_auc_by_hand() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert auc(scores, np.array([False, False, True, True])) == 0.75
    assert auc(np.ones(4), np.array([False, False, True, True])) == 0.5


def test_a_language_model_is_asked_in_batches_of_like_length() -> None:
    asked: list[list[int]] = []

    def bits(texts: Sequence[str]) -> list[float]:
        asked.append([len(text) for text in texts])
        return [1 / len(text) for text in texts]

    texts = ["a" * n for n in (5, 1, 4, 2, 3)]
    assert ModelScorer(bits, batch=2).scores(texts) == [1 / 5, 1, 1 / 4, 1 / 2, 1 / 3]
    assert asked == [[1, 2], [3, 4], [5]]
    with pytest.raises(ValueError, match="shorter"):
        ModelScorer(lambda texts: [0.0], batch=2).scores(texts)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ngram") / "model.arpa"
    text = "今天天气很好，我们去公园散步。明天可能会下雨，请带上雨伞。" * 3
    texts = [text[n % 20 :] + "他说：“学习使人进步。”" for n in range(40)]
    assert train_ngram(texts, path, order=3)["documents"] == 40
    return path


def test_perplexity_is_that_of_the_arpa_file(arpa: Path) -> None:
    """The probability of each character is looked up in the file, with back-off, by hand."""
    table: dict[tuple[str, ...], tuple[float, float]] = {}
    for line in arpa.read_text().splitlines():
        cells = line.split("\t")
        if len(cells) >= 2:
            back_off = float(cells[2]) if len(cells) > 2 else 0.0
            table[tuple(cells[1].split())] = (float(cells[0]), back_off)

    def log10(history: tuple[str, ...], word: str) -> float:
        if (*history, word) in table:
            return table[*history, word][0]
        if not history:
            return table[("<unk>",)][0]
        return table.get(history, (0.0, 0.0))[1] + log10(history[1:], word)

    line = "今天会下雨，龘。"
    words = [*line, "</s>"]
    total, history = 0.0, ("<s>",)
    for word in words:
        total += log10(history, word)
        history = (*history, word)[-2:]
        history = tuple(w if (w,) in table else "<unk>" for w in history)
    (found,) = NgramScorer(arpa).scores([line])
    assert found == pytest.approx(10 ** (-total / len(words)), rel=1e-4)


def test_an_unknown_character_costs_no_hundred_digits(arpa: Path) -> None:
    scorer = NgramScorer(arpa)
    known, unknown = scorer.scores(["今天天气很好。", "今天天气很龘。"])
    assert known < unknown < 100 * known
    assert arpa.read_text().count("<unk>") == 1


def test_perplexity_of_nothing_and_of_spaces(arpa: Path) -> None:
    scorer = NgramScorer(arpa)
    assert scorer.scores(["", " \n\t"]) == [NO_TEXT, NO_TEXT]
    one, other = scorer.scores(["今天 天气\n很好", "  今天\t\u3000天气  \n\n很好\n"])
    assert one == other


def test_a_scorer_can_be_sent_to_another_process(arpa: Path) -> None:
    scorer = NgramScorer(arpa)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:
        found = workers.submit(scorer.scores, ["今天天气很好。"]).result()
    assert found == scorer.scores(["今天天气很好。"])


def test_the_reference_must_say_something(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="12 characters are too few"):
        train_ngram(["一二三四五六", "七八九十百千"], tmp_path / "m.arpa")
    with pytest.raises(BadInput, match=r"none\.arpa: no such file"):
        NgramScorer(tmp_path / "none.arpa")
    (tmp_path / "bad.arpa").write_text("no model")
    with pytest.raises(BadInput, match=r"bad\.arpa: not a model that KenLM reads"):
        NgramScorer(tmp_path / "bad.arpa")


def test_training_twice_gives_the_same_scores(texts_of: TextsOf, tmp_path: Path) -> None:
    texts = texts_of("zh/how_to_cook", 100)
    train_ngram(texts, tmp_path / "a.arpa", most_bytes=50_000)
    train_ngram(texts, tmp_path / "b.arpa", most_bytes=50_000)
    assert (tmp_path / "a.arpa").read_bytes() == (tmp_path / "b.arpa").read_bytes()
    first, again = train_linear(texts[:50], texts[50:]), train_linear(texts[:50], texts[50:])
    assert first.scorer.scores(texts) == again.scorer.scores(texts)


def test_perplexity_parts_clean_prose_from_machine_translation(
    texts_of: TextsOf, tmp_path: Path
) -> None:
    clean, noise = texts_of("zh/ruanyf_weekly"), texts_of("zh/noisy_xda_mt", 300)
    train_ngram(clean[::2], tmp_path / "zh.arpa", most_bytes=500_000)
    held = clean[1::2]
    scores = np.array(NgramScorer(tmp_path / "zh.arpa").scores(held + noise))
    good = np.arange(len(scores)) < len(held)
    assert auc(-scores, good) >= 0.98
    cut = cut_of(list(scores), shares("ziya2"), higher_is_better=False)
    assert sum(cut.grade(score) == "low" for score in scores[good]) <= 0.02 * len(held)


def test_the_classifier_parts_what_it_was_shown(texts_of: TextsOf, tmp_path: Path) -> None:
    good = texts_of("zh/lctt_zh", 400)
    bad = texts_of("zh/noisy_xda_mt", 400)
    trained = train_linear(good, bad)
    assert trained.auc >= 0.99 and (trained.good, trained.bad) == (400, 400)
    trained.scorer.save(tmp_path / "s.safetensors")
    again = load_linear(tmp_path / "s.safetensors")
    texts = [*good[:5], *bad[:5], "", "短"]
    assert again.scores(texts) == trained.scorer.scores(texts)
    assert all(0 <= score <= 1 for score in again.scores(texts))
    # ten times as many of one kind do not move the middle
    few = train_linear(good, bad[:40]).scorer.scores(bad[200:])
    assert np.median(few) < 0.5


def test_the_classifier_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"corpus\.quality\.bad: 2 texts; 20 are the least"):
        train_linear(["好"] * 30, ["坏", "差", " "])
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(BadInput, match=r"x\.safetensors: not a scorer's file"):
        load_linear(tmp_path / "x.safetensors")


@given(st.text("好坏a1 \n", max_size=50))
def test_digits_and_kinds_of_space_do_not_matter(text: str) -> None:
    scorer = train_linear(
        [f"好文章{n}" for n in range(25)], [f"坏广告{n}" for n in range(25)]
    ).scorer
    same = text.replace("1", "7").replace("\n", "\t")
    assert scorer.scores([text]) == scorer.scores([same])
