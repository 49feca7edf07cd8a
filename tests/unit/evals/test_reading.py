"""Suites that ask about a text, and the scores of what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exams import always, reader

from langraft.core.errors import BadInput
from langraft.evals.ledger import read_results
from langraft.evals.suite import evaluate
from langraft.evals.suites import load_exam
from langraft.evals.suites.reading import LONGBENCH
from langraft.evals.written import MEASURES, chinese_words

ARCHIVE = "benchmarks/benchmarks_dev.tar.zst"


def test_cmrc_and_xquad_of_the_material(material: Path) -> None:
    (cmrc,) = load_exam("cmrc2018", ARCHIVE, material).subjects
    assert len(cmrc.questions) == 3219
    assert cmrc.questions[0].text == "《战国无双3》是由哪两个公司合作开发的？"
    assert cmrc.questions[0].targets == ("光荣和ω-force",)
    both = load_exam("xquad", ARCHIVE, material).subjects
    assert [(s.key, len(s.questions)) for s in both] == [("en", 1190), ("zh", 1190)]
    assert all(q.targets and q.targets[0] in q.passage for q in both[1].questions)


def squad_file(folder: Path, tree: Any) -> None:
    (folder / "cmrc2018_dev.json").write_text(json.dumps(tree), encoding="utf-8")


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ([], "an object with 'data' was expected, not list"),
        ({"version": 1}, "no field 'data'"),
        ({"data": [{"paragraphs": [{"context": "x", "qas": [{"question": "q"}]}]}]}, "'answers'"),
    ],
)
def test_another_shape_is_refused(tmp_path: Path, tree: Any, said: str) -> None:
    squad_file(tmp_path, tree)
    with pytest.raises(BadInput, match=said):
        load_exam("cmrc2018", ".", tmp_path)


def test_a_written_answer_is_scored_whole_by_words_and_by_language(tmp_path: Path) -> None:
    asked = [
        {"question": "谁？", "answers": [{"text": "C" * 64}], "id": 1},
        {"question": "何时？", "answers": [{"text": "C 年"}], "id": 2},
    ]
    squad_file(tmp_path, {"data": [{"paragraphs": [{"context": "文。", "qas": asked}]}]})
    exam = load_exam("cmrc2018", ".", tmp_path)
    found = evaluate(reader(always("C")), exam, "generate", tmp_path / "out")
    first, second = sorted(read_results(tmp_path / "out"), key=lambda line: line["id"])
    assert first["text"] == "C" * 64
    assert (first["score"], second["score"]) == (1.0, 0.0)
    assert found.main.value == 0.5
    assert set(found.measures) == {"exact match", "F1", "written in the question's language"}
    assert found.measures["written in the question's language"]["micro"]["value"] == 0.0


def task(folder: Path, name: str, **record: Any) -> None:
    whole = {"input": "何人？", "context": "文{x}", "answers": ["C"], "all_classes": None}
    path = folder / "LongBench" / "data" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**whole, **record}) + "\n", encoding="utf-8")


def test_longbench_takes_the_published_prompts_where_they_lie_beside_it(tmp_path: Path) -> None:
    task(tmp_path, "dureader")
    task(tmp_path, "lsht_e", input="{context}", all_classes=["体育", "财经"], answers=["财经"])
    plain = load_exam("longbench", ".", tmp_path)
    assert [s.key for s in plain.subjects] == ["dureader", "lsht_e"]
    assert plain.subjects[0].questions[0].text == "文{x}\n\n何人？\n"
    assert (plain.subjects[0].measure, plain.subjects[0].new_tokens) == ("rouge-zh", 128)
    config = tmp_path / "LongBench" / "config"
    config.mkdir()
    prompts = {"dureader": "读：{context}\n问：{input}\n答："}
    (config / "dataset2prompt.json").write_text(json.dumps(prompts), encoding="utf-8")
    (config / "dataset2maxlen.json").write_text('{"dureader": 5}', encoding="utf-8")
    (subject, classes) = load_exam("longbench", ".", tmp_path).subjects
    assert subject.questions[0].text == "读：文{x}\n问：何人？\n答："
    assert subject.new_tokens == 5
    assert classes.questions[0].options == ("体育", "财经")
    exam = load_exam("longbench", ".", tmp_path, subjects=["dureader"])
    found = evaluate(reader(always("C")), exam, "generate", tmp_path / "out")
    (line,) = read_results(tmp_path / "out")
    assert line["text"] == "CCCCC"  # as many as the task's own length
    assert found.main.value == line["score"] == 0.0  # one word, and not the right one


@pytest.mark.parametrize(
    ("measure", "text", "target", "classes", "score"),
    [
        ("f1", "the red house", "a red door", (), 0.5),
        ("f1-zh", "他在北京大学读书", "北京大学", (), 0.4),
        ("f1-line", "Paris\nQuestion: next", "paris", (), 1.0),
        ("rouge", "a b c d", "b d", (), 0.8),
        ("rouge-zh", "我们学习", "我们", (), 2 / 3),
        ("class-line", "体育新闻\n财经", "体育", ("体育", "体", "财经"), 1.0),
        ("class-line", "体育和财经", "体育", ("体育", "财经"), 0.5),
        ("class-line", "财经", "体育", ("体育", "财经"), 0.0),
        ("paragraph", "段落3，不是段落4", "段落3", (), 0.5),
        ("paragraph", "Paragraph 12", "Paragraph 1", (), 0.0),
        ("number", "There are 7, in all 7 of 9", "7", (), 2 / 3),
        ("number", "none", "7", (), 0.0),
        ("code", "\n# why\nreturn x", "return x", (), 1.0),
    ],
)
def test_measures_by_hand(
    measure: str, text: str, target: str, classes: tuple[str, ...], score: float
) -> None:
    assert MEASURES[measure](text, ["nothing of it", target], classes) == pytest.approx(score)


def test_every_task_has_its_measure_and_language() -> None:
    assert {found.measure for found in LONGBENCH.values()} <= set(MEASURES)
    assert {found.language for found in LONGBENCH.values()} == {"en", "zh"}


def test_chinese_words_are_those_of_the_dictionary() -> None:
    assert chinese_words("我们今天，在北京大学！") == ["我们", "今天", "在", "北京大学"]
