"""Every published layout read, and what is wrong with a file said."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow
import pyarrow.parquet
import pytest

from langraft.core.errors import BadInput
from langraft.evals.prompts import Writer
from langraft.evals.protocols import wording_of
from langraft.evals.suites import (
    SUITES,
    group_of,
    held_suites,
    load_exam,
    subject_names,
    with_choices,
)
from langraft.evals.suites.table import ANY

ARCHIVE = "benchmarks/benchmarks_dev.tar.zst"
SAMPLES = "benchmarks/format_samples"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines(*records: Any) -> str:
    return "".join(json.dumps(r) + "\n" for r in records)


@pytest.mark.parametrize(
    ("suite", "subjects", "questions", "shots"),
    [("mmlu", 57, 14_042, 5), ("cmmlu", 67, 11_582, 5), ("ceval", 52, 1_346, 5)],
)
def test_the_material_is_read_whole(
    material: Path, suite: str, subjects: int, questions: int, shots: int
) -> None:
    exam = load_exam(suite, ARCHIVE, material)
    assert len(exam.subjects) == subjects
    assert sum(len(s.questions) for s in exam.subjects) == questions
    assert {len(s.shots) for s in exam.subjects} == {shots}
    assert exam.skipped == {}
    assert {s.key for s in exam.subjects} == set(subject_names()[suite])
    assert all(group_of(suite, s.key) for s in exam.subjects)


def test_cmmlu_groups_are_the_published_ones() -> None:
    counts: dict[str, int] = {}
    for key in subject_names()["cmmlu"]:
        counts[group_of("cmmlu", key)] = counts.get(group_of("cmmlu", key), 0) + 1
    assert counts == {
        "STEM": 17,
        "Humanities": 11,
        "Social Science": 13,
        "Other": 11,
        "China specific": 15,
    }


def test_c3_and_gsm8k_of_the_material(material: Path) -> None:
    c3 = load_exam("c3", ARCHIVE, material)
    assert [(s.key, len(s.questions)) for s in c3.subjects] == [("dialogue", 1890), ("mixed", 2002)]
    first = c3.subjects[0].questions[0]
    assert first.text == "女的到底生谁的气?"
    assert first.options[first.labels.index(first.answers[0])] == "丈夫"
    gsm = load_exam("gsm8k", ARCHIVE, material)
    assert len(gsm.subjects[0].questions) == 1319
    assert gsm.subjects[0].questions[0].targets == ("18",)
    assert len(gsm.subjects[0].shots) == 8


def test_fewclue_of_the_material_is_asked_as_multiple_choice(material: Path) -> None:
    exam = load_exam("fewclue", ARCHIVE, material)
    counts = {s.key: len(s.questions) for s in exam.subjects}
    assert counts == {
        "bustm": 1772,
        "cluewsc": 976,
        "csl": 2838,
        "eprstmt": 610,
        "ocnli": 2520,
        "tnews": 2010,
    }
    assert exam.skipped == {}
    by_key = {s.key: s for s in exam.subjects}
    news = by_key["tnews"].questions[0]
    assert (news.labels, news.answers) == ("ABCDEFGHIJKLMNO", ("A",))
    assert (news.options[0], news.text.split("\n")[0]) == ("故事", "农村依然很重视土葬")
    assert by_key["eprstmt"].questions[0].answers == ("B",)  # a complaint
    assert "指的是否为“毛豆”" in by_key["cluewsc"].questions[0].text
    assert "、" in by_key["csl"].questions[0].text
    shares = Counter(q.answers[0] for q in by_key["ocnli"].questions)
    assert shares == {"A": 840, "B": 840, "C": 840}


def test_agieval_holds_three_to_five_worked_examples(material: Path) -> None:
    exam = load_exam("agieval", SAMPLES, material)
    shots = {s.key: len(s.shots) for s in exam.subjects}
    assert len(shots) == 21
    three = {k for k, n in shots.items() if n == 3}
    assert three == {
        *("gaokao-chinese", "gaokao-english", "logiqa-en", "logiqa-zh", "lsat-ar", "lsat-lr"),
        *("lsat-rc", "sat-en", "sat-en-without-passage"),
    }
    assert shots["math"] == 4
    assert all(n == 5 for k, n in shots.items() if k not in three | {"math"})
    by_key = {s.key: s for s in exam.subjects}
    assert by_key["jec-qa-kd"].questions[1].answers == ("D",)  # a list in the file
    assert by_key["math"].questions[0].targets == ("(3,4]",)
    assert by_key["aqua-rat"].questions[0].labels == "ABCDE"
    assert by_key["gaokao-geography"].shots[0].labels == "ABCD"  # its options are one string
    assert by_key["sat-en"].shots[0].passage
    assert not by_key["sat-en-without-passage"].shots[0].passage


@pytest.mark.parametrize("layout", ["Objective_Questions", "data/Multiple-choice_Questions"])
def test_gaokao_in_both_layouts(material: Path, tmp_path: Path, layout: str) -> None:
    source = material / SAMPLES / "gaokao-bench" / "Objective_Questions"
    shutil.copytree(source, tmp_path / layout, copy_function=shutil.copyfile)
    exam = load_exam("gaokao", ".", tmp_path)
    assert len(exam.subjects) == 14
    by_key = {s.key: s for s in exam.subjects}
    cloze = by_key["English_Cloze_Test"].questions[0]
    assert (cloze.answers, cloze.labels) == (("C", "F", "A", "E", "D"), "ABCDEFG")
    assert by_key["Physics_MCQs"].questions[3].answers == ("AC",)


ARC_FILE = {
    "id": "x",
    "question": {
        "stem": "Why?",
        "choices": [{"text": "one", "label": "1"}, {"text": "two", "label": "2"}],
    },
    "answerKey": "2",
}
HELLASWAG = {
    "activity_label": "Roof",
    "ctx_a": "A man is.",
    "ctx_b": "he",
    "endings": ["[step] runs.  Far", "sits"],
    "label": 1,
}
TRUTH = {
    "question": "Is it?",
    "mc1_targets": {"No.": 0, "Yes.": 1},
    "mc2_targets": {"No.": 0, "Yes.": 1, "Sure.": 1},
}
WINO = {"sentence": "The _ fell.", "option1": "cup", "option2": "sky", "answer": "1"}
DROP = {
    "p1": {
        "passage": "Three men.",
        "qa_pairs": [
            {
                "question": "How many?",
                "answer": {"number": "3", "spans": [], "date": {}},
                "validated_answers": [{"number": "", "spans": ["three"], "date": {}}],
            }
        ],
    }
}


@pytest.mark.parametrize(
    ("suite", "file", "text", "answers", "labels"),
    [
        ("arc", "ARC-Easy/ARC-Easy-Test.jsonl", lines(ARC_FILE), ("B",), "AB"),
        ("hellaswag", "hellaswag_val.jsonl", lines(HELLASWAG), ("B",), "AB"),
        ("truthfulqa-mc1", "mc_task.json", json.dumps([TRUTH]), ("B",), "AB"),
        ("truthfulqa-mc2", "mc_task.json", json.dumps([TRUTH]), ("BC",), "ABC"),
        ("winogrande", "winogrande_1.1/dev.jsonl", lines(WINO), ("A",), "AB"),
        ("drop", "drop_dataset_dev.json", json.dumps(DROP), (), ""),
    ],
)
def test_published_record_files(
    tmp_path: Path, suite: str, file: str, text: str, answers: tuple[str, ...], labels: str
) -> None:
    write(tmp_path / file, text)
    (subject,) = load_exam(suite, ".", tmp_path, shots=0).subjects
    (asked,) = subject.questions
    assert (asked.answers, asked.labels) == (answers, labels)
    if suite == "hellaswag":
        assert asked.text == "Roof: A man is. He"
        assert asked.options == (" runs. Far", "sits")
    if suite == "drop":
        assert asked.targets == ("3", "three")


def test_the_hub_holds_parquet(tmp_path: Path) -> None:
    rows = [
        {
            "question": "Why?",
            "choices": {"text": ["one", "two"], "label": ["A", "B"]},
            "answerKey": "A",
        }
    ]
    folder = tmp_path / "ARC-Challenge"
    folder.mkdir()
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, folder / "test-00000-of-00001.parquet")
    (subject,) = load_exam("arc", ".", tmp_path, shots=0).subjects
    assert (subject.key, subject.questions[0].answers) == ("arc-challenge", ("A",))


def parquet(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def test_the_hubs_mmlu_has_lists_of_choices_and_numbered_answers(tmp_path: Path) -> None:
    row = {"question": "Why?", "subject": "anatomy", "choices": list("wxyz"), "answer": 2}
    for part in ("test", "dev", "validation"):
        parquet(tmp_path / f"mmlu/anatomy/{part}-00000-of-00001.parquet", row)
        parquet(tmp_path / f"mmlu/all/{part}-00000-of-00001.parquet", row)
    (subject,) = load_exam("mmlu", ".", tmp_path, shots=1).subjects
    assert subject.key == "anatomy"
    (asked,) = subject.questions
    assert (asked.options, asked.answers) == (("w", "x", "y", "z"), ("C",))
    assert subject.shots[0].answers == ("C",)
    assert load_exam("mmlu", ".", tmp_path, split="val", shots=0).subjects[0].questions


@pytest.mark.parametrize("file", ["cmmlu/arts/cmmlu-test.parquet", "cmmlu/arts/test/0000.parquet"])
def test_the_hubs_cmmlu_has_the_columns_of_its_csv(tmp_path: Path, file: str) -> None:
    row = {"Question": "何?", **{letter: letter * 2 for letter in "ABCD"}}
    parquet(tmp_path / file, {**row, "Answer": "D"})
    (subject,) = load_exam("cmmlu", ".", tmp_path, shots=0).subjects
    assert (subject.key, subject.questions[0].answers) == ("arts", ("D",))
    parquet(tmp_path / file, {**row, "Answer": ""})
    with pytest.raises(BadInput, match="no record has an answer"):
        load_exam("cmmlu", ".", tmp_path, shots=0)
    parquet(tmp_path / file, row)
    with pytest.raises(BadInput, match="no field 'answer'"):
        load_exam("cmmlu", ".", tmp_path, shots=0)


ZIPPED = {"test/arts.csv": ",Question,A,B,C,D,Answer\n0,q,a,b,c,d,B\n"}


def zipped(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_a_zip_archive_is_read_like_a_folder(tmp_path: Path) -> None:
    zipped(tmp_path / "cmmlu.zip", ZIPPED)
    (subject,) = load_exam("cmmlu", "cmmlu.zip", tmp_path, shots=0).subjects
    assert (subject.key, subject.questions[0].answers) == ("arts", ("B",))
    zipped(tmp_path / "bad.zip", {"../test/arts.csv": "x"})
    with pytest.raises(BadInput, match="a path outside the archive"):
        load_exam("cmmlu", "bad.zip", tmp_path)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "cmmlu.zip").read_bytes()[:60])
    with pytest.raises(BadInput, match=r"cut\.zip: not a readable zip archive"):
        load_exam("cmmlu", "cut.zip", tmp_path)


@pytest.mark.parametrize(
    ("local", "central", "value", "why"),
    [(6, 8, 1, "encrypted"), (8, 10, 99, "compression method")],  # flags, and the method
)
def test_a_zip_archive_that_only_other_programs_open(
    local: int, central: int, value: int, why: str, tmp_path: Path
) -> None:
    """The bytes of APPNOTE 4.3.7 and 4.3.12, for every member."""
    zipped(tmp_path / "odd.zip", ZIPPED)
    data = bytearray((tmp_path / "odd.zip").read_bytes())
    for signature, place in ((b"PK\3\4", local), (b"PK\1\2", central)):
        start = data.find(signature)
        while start >= 0:
            data[start + place] = value
            start = data.find(signature, start + 1)
    (tmp_path / "odd.zip").write_bytes(data)
    with pytest.raises(BadInput, match=rf"odd\.zip: not a readable zip archive \(.*{why}"):
        load_exam("cmmlu", "odd.zip", tmp_path)


def test_a_data_set_of_the_hub_is_read_with_the_archives_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's cache on this machine, laid out as its own library does."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    held = tmp_path / "datasets--haonan-li--cmmlu"
    write(held / "refs/main", "0" * 40)
    snapshot = held / "snapshots" / ("0" * 40)
    write(snapshot / "README.md", "CMMLU")
    zipped(snapshot / "cmmlu_v1_0_1.zip", ZIPPED)
    (subject,) = load_exam("cmmlu", "hub:haonan-li/cmmlu", tmp_path, shots=0).subjects
    assert (subject.key, subject.questions[0].answers) == ("arts", ("B",))
    with pytest.raises(BadInput, match="hub data set 'nobody/nothing' cannot be fetched"):
        load_exam("cmmlu", "hub:nobody/nothing", tmp_path)


OWN = "question,A,B,C,answer,subject,split\nOne?,1,2,3,A,sums,dev\nTwo?,1,2,,B,sums,test\n"


def test_a_users_own_csv(tmp_path: Path) -> None:
    write(tmp_path / "mine.csv", OWN)
    (subject,) = load_exam("csv", "mine.csv", tmp_path, shots=1).subjects
    assert (subject.key, len(subject.shots)) == ("sums", 1)
    assert subject.questions[0].labels == "AB"  # the third choice is empty
    assert subject.questions[0].answers == ("B",)


def cmmlu(folder: Path, test: str, dev: str = ",Question,A,B,C,D,Answer\n0,q,a,b,c,d,A\n") -> None:
    write(folder / "cmmlu/dev/anatomy.csv", dev)
    write(folder / "cmmlu/test/anatomy.csv", test)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (",Question,A,B,C,D\n0,q,a,b,c,d\n", "column 'answer' is missing"),
        (",A,B,C,D,Answer\n0,a,b,c,d,A\n", "column 'question' is missing"),
        (",Question,A,B,C,D,Answer\n0,q,a,b\n", "anatomy.csv:2: 4 columns"),
        ("q,1,2\n", "3 columns and no header"),
        (",Question,A,B,C,D,Answer\n0,q,a,b,c,d,E\n", "no question"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, test: str, said: str) -> None:
    cmmlu(tmp_path, test)
    with pytest.raises(BadInput, match=said):
        load_exam("cmmlu", ".", tmp_path, shots=1)


def test_an_answer_outside_the_letters_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cmmlu(tmp_path, ",Question,A,B,C,D,Answer\n0,q,a,b,c,d,E\n1,q,a,b,c,d,b\n2,q,a,b,c,d,\n")
    exam = load_exam("cmmlu", ".", tmp_path, shots=1)
    assert [q.answers for q in exam.subjects[0].questions] == [("B",)]
    assert exam.skipped == {"answer 'E' is not one of A-D": 1, "no answer": 1}
    assert "anatomy.csv:2" in capsys.readouterr().err


def test_an_empty_dev_split_is_refused_and_named(tmp_path: Path) -> None:
    cmmlu(tmp_path, ",Question,A,B,C,D,Answer\n0,q,a,b,c,d,A\n", dev="")
    with pytest.raises(BadInput, match=r"cmmlu/anatomy: 5 worked examples .* --shots 0"):
        load_exam("cmmlu", ".", tmp_path)
    assert load_exam("cmmlu", ".", tmp_path, shots=0).subjects[0].questions


def test_the_test_split_of_ceval_has_no_answers(material: Path) -> None:
    with pytest.raises(BadInput, match="cannot be scored; choose another with --split"):
        load_exam("ceval", ARCHIVE, material, split="test")


def test_unknown_names_and_places(tmp_path: Path, material: Path) -> None:
    with pytest.raises(BadInput, match=r"'mmul': not known; there are mmlu"):
        load_exam("mmul", ".", tmp_path)
    with pytest.raises(BadInput, match="no such folder, archive or file"):
        load_exam("mmlu", "nowhere", tmp_path)
    with pytest.raises(BadInput, match="holds no files of mmlu"):
        load_exam("mmlu", ".", tmp_path)
    with pytest.raises(BadInput, match="no subject 'anatmy'"):
        load_exam("mmlu", ARCHIVE, material, subjects=["anatmy"])


def archive(path: Path, name: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = 5
        tar.addfile(info, io.BytesIO(b"q,a,b"))
    return path


@pytest.mark.parametrize("name", ["../test/anatomy_test.csv", "/mmlu/test/anatomy_test.csv"])
def test_an_archive_may_not_name_paths_outside_itself(tmp_path: Path, name: str) -> None:
    archive(tmp_path / "a.tar.gz", name)
    with pytest.raises(BadInput, match="a path outside the archive"):
        load_exam("mmlu", "a.tar.gz", tmp_path)


def test_a_damaged_archive_is_named(tmp_path: Path, material: Path) -> None:
    whole = (material / ARCHIVE).read_bytes()
    (tmp_path / "cut.tar.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="truncated or corrupt"):
        load_exam("mmlu", "cut.tar.zst", tmp_path)


def test_worked_examples_are_the_first_or_drawn_by_seed(material: Path) -> None:
    def shots(seed: int | None) -> list[str]:
        exam = load_exam("mmlu", ARCHIVE, material, shots=3, seed=seed, subjects=["anatomy"])
        return [q.text for q in exam.subjects[0].shots]

    first = shots(None)
    assert first == shots(None)
    assert shots(3) == shots(3)
    assert shots(3) != first


def test_every_row_of_the_table_compiles_and_names_a_licence() -> None:
    import re

    for name, suite in SUITES.items():
        re.compile(suite.files)
        assert suite.licence or (suite.named == ANY and name.startswith("csv"))


def test_a_folder_of_several_suites_says_what_it_holds(material: Path, tmp_path: Path) -> None:
    whole = {"mmlu", "cmmlu", "ceval", "c3", "fewclue", "gsm8k", "cmrc2018", "xquad"}
    assert set(held_suites(ARCHIVE, material)) == whole
    assert held_suites(SAMPLES, material) == ["agieval", "gaokao"]
    write(tmp_path / "mine.csv", OWN)
    assert held_suites(".", tmp_path) == []
    write(tmp_path / "AGIEval/v1/lsat-ar.jsonl", "{}")
    assert held_suites("AGIEval/v1", tmp_path) == ["agieval"]
    write(tmp_path / "dropbox/dev.json", "[]")
    assert held_suites("dropbox", tmp_path) == []
    write(tmp_path / "drop_dataset/drop_dataset_dev.json", "{}")
    assert held_suites("drop_dataset", tmp_path) == ["drop"]


def test_questions_of_ones_own_are_asked_in_their_language(tmp_path: Path) -> None:
    write(tmp_path / "mine.csv", OWN)
    for suite, cue in (("csv", "Question: Two?"), ("csv-zh", "题目：Two?")):
        (subject,) = load_exam(suite, "mine.csv", tmp_path, shots=0).subjects
        wording = wording_of("colossal", suite, subject.key)
        assert cue in Writer(suite, subject, wording).prompt(subject.questions[0], 0)


def test_only_questions_of_four_choices(material: Path) -> None:
    whole = load_exam("agieval", f"{SAMPLES}/agieval", material)
    four = with_choices(whole, 4)
    keys = {s.key for s in four.subjects}
    assert {"logiqa-zh", "sat-en", "gaokao-history"} <= keys
    assert not keys & {"aqua-rat", "lsat-ar", "math", "gaokao-mathcloze"}  # five options, or none
    asked = [q for s in four.subjects for q in s.questions]
    assert asked
    assert all(len(q.labels) == 4 and len(q.answers[0]) == 1 for q in asked)
    lost = sum(count for reason, count in four.skipped.items() if "among 4" in reason)
    held = sum(len(s.questions) for s in whole.subjects if s.key in keys)
    assert len(asked) + lost == held
    with pytest.raises(BadInput, match="one right answer among 9"):
        with_choices(whole, 9)
