"""Two models side by side, overlap with training text, and settings that move a score."""

from __future__ import annotations

from pathlib import Path

import pytest
from exams import always, exam, reader

from langraft.core.errors import BadInput
from langraft.corpus.decontaminate import Decontaminator, Item
from langraft.evals.bits import Bits
from langraft.evals.compare import suite_score, text_score, verdicts
from langraft.evals.contamination import found_items, item_texts, overlap
from langraft.evals.ledger import read_results
from langraft.evals.mismatch import Setting, explain, neighbours
from langraft.evals.statistics import wilson
from langraft.evals.suite import evaluate
from langraft.evals.suites import Exam, Question, Subject

NATS = 0.6931471805599453  # one bit


def test_bits_are_compared_document_by_document() -> None:
    base = [Bits(100 * NATS, 30, 100), Bits(300 * NATS, 90, 200)]
    model = [Bits(90 * NATS, 20, 100), Bits(270 * NATS, 50, 200)]
    found = text_score("zh", "zh", base, model)
    assert (found.base, found.model) == (pytest.approx(400 / 300), pytest.approx(360 / 300))
    assert found.change == found.low == found.high == pytest.approx(-0.1)
    with pytest.raises(BadInput, match="the same documents"):
        text_score("zh", "zh", base, model[:1])


def both(tmp_path: Path, letter: str, protocol: str = "lm-eval"):  # noqa: ANN201
    folder = tmp_path / letter
    summary = evaluate(
        reader(always(letter)), exam(8, subjects=("anatomy", "philosophy")), protocol, folder
    )
    return summary.as_json(), list(read_results(folder))


def test_suites_are_compared_question_by_question(tmp_path: Path) -> None:
    (base, base_lines), (model, model_lines) = both(tmp_path, "A"), both(tmp_path, "B")
    found = suite_score(base, model, base_lines, model_lines)
    # Each answer is right in 4 of 16; A's and B's questions change places.
    assert found.base["value"] == found.model["value"] == 0.25
    assert (found.difference["better"], found.difference["worse"]) == (4, 4)
    assert found.difference["p"] == 1.0
    assert [g["group"] for g in found.groups] == ["Humanities", "Other"]
    other, _ = both(tmp_path / "x", "A", "colossal")
    with pytest.raises(BadInput, match="differ in protocol"):
        suite_score(base, other, base_lines, model_lines)


def test_verdicts_ask_for_more_of_the_new_language_and_no_less_of_the_old() -> None:
    zh = text_score("z", "zh", [Bits(100, 9, 100)], [Bits(80, 9, 100)])
    en = text_score("e", "en", [Bits(100, 9, 100)], [Bits(104, 9, 100)])
    found = verdicts([zh, en], [], "zh", 0.03)
    assert [line["good"] for line in found] == [True, False]
    assert found[1]["text"].endswith("+4.0%, at most +3.0% is allowed")
    assert [v["good"] for v in verdicts([en], [], "en", 0.03)] == [False]


LONG = "the committee of the northern province decided on a late evening in march that journey {}"


def test_items_in_the_corpus_are_found_and_the_score_without_them_told(tmp_path: Path) -> None:
    asked = [
        Question(LONG.format(n), "ABCD", ("1", "2", "3", "4"), answers=("ABCD"[n % 4],))
        for n in range(4)
    ]
    asked[2] = Question("something else that no document of this corpus says in any of its lines "
                        "at all", "ABCD", ("5", "6", "7", "8"), answers=("C",))  # fmt: skip
    items = Exam("mmlu", "test", (Subject("anatomy", asked),), 0, None)
    evaluate(reader(always("C")), items, "lm-eval", tmp_path)
    finder = Decontaminator(Item(*item) for item in item_texts(items))
    corpus = ["Nothing.", f"It is said: {LONG.format(1)} 1 2 3 4, and so on."]
    held = found_items(finder, corpus, "mmlu")
    assert "anatomy/1" in held
    assert "anatomy/2" not in held
    found = overlap(read_results(tmp_path), {"anatomy/1"})
    assert (found.items, found.of) == (("anatomy/1",), 4)
    assert found.all.value == 0.25
    assert found.clean is not None
    assert found.clean.value == pytest.approx(1 / 3)
    assert overlap(read_results(tmp_path), {f"anatomy/{n}" for n in range(4)}).clean is None
    assert found_items(finder, corpus, "cmmlu") == set()


def test_neighbours_differ_in_one_thing() -> None:
    claimed = Setting("chinese-llama-asis", 5)
    found = neighbours(claimed, "ceval")
    assert found[0] == claimed
    said = [setting.unlike(claimed) for setting in found]
    assert said[0] == "as claimed"
    assert "protocol chinese-llama" in said
    assert "0 worked examples" in said
    assert "window of 1024 tokens" in said
    assert len(set(said)) == len(said)


def test_the_nearest_setting_comes_first_with_what_it_moves() -> None:
    scores = {"chinese-llama-asis": 40, "chinese-llama": 36, "lm-eval": 20}
    claimed = Setting("chinese-llama-asis", 5)

    def score(setting: Setting):  # noqa: ANN202
        return wilson(scores.get(setting.protocol, 30) - (setting.shots == 0) * 5, 100)

    found = explain(claimed, "ceval", 0.36, score)
    assert found[0].setting == "protocol chinese-llama"
    assert found[0].moves == pytest.approx(-0.04)
    assert found[0].distance == pytest.approx(0.0)
    assert [line.distance for line in found] == sorted(line.distance for line in found)
    assert all(line.explains == (line.score.low <= 0.36 <= line.score.high) for line in found)
    assert found[0].explains
    assert not all(line.explains for line in explain(claimed, "ceval", 0.9, score))
