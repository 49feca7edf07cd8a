"""Whole evaluations of small models: what they score, how they stop and go on."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from exams import always, exam, question, reader
from random_llama import random_llama

from langraft.core.errors import BadInput, RunFailed
from langraft.evals.ledger import read_results
from langraft.evals.ranks import Ranks
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import Exam, Question, Subject

LETTERS = ["colossal", "colossal-2023", "lm-eval", "generate"]
CHINESE = ["colossal", "chinese-llama", "chinese-llama-asis", "lm-eval"]


def uneven(suite: str) -> Exam:
    """Fourteen questions, six of whose answers are C."""
    letters = "CCCABDCABDCABC"[:14]
    asked = [question(n, letter) for n, letter in enumerate(letters)]
    return Exam(suite, "test", (Subject("anatomy", asked, [question(99, "D")]),), 1, None)


@pytest.mark.parametrize(
    ("suite", "protocol"),
    [*(("mmlu", name) for name in LETTERS), *(("cmmlu", name) for name in CHINESE)],
)
def test_a_model_that_always_says_c_scores_the_share_of_c(
    tmp_path: Path, suite: str, protocol: str
) -> None:
    found = evaluate(reader(always("C")), uneven(suite), protocol, tmp_path)
    assert found.main.value == 6 / 14
    picked = {r["picked"] for r in read_results(tmp_path)}
    assert picked == {"C"}


def naive(asked: Reader, text: str, continuations: list[str]) -> list[float]:
    """Log-likelihoods from the model's own forward pass, one text at a time."""
    found = []
    for continuation in continuations:
        kept = text.rstrip()
        whole = asked.tokenizer(text + continuation)["input_ids"]
        start = len(asked.tokenizer(kept)["input_ids"])
        with torch.no_grad():
            table = asked.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        found.append(sum(float(table[i - 1, whole[i]]) for i in range(start, len(whole))))
    return found


def test_ten_items_scored_by_hand(tmp_path: Path) -> None:
    """Letters picked from the model's own logits at the end of a prompt written out here."""
    asked, items = reader(), exam(10, shots=0)
    spoken = asked.tokenizer
    evaluate(asked, items, "colossal", tmp_path / "colossal")
    evaluate(asked, items, "lm-eval", tmp_path / "harness")
    colossal = {r["id"]: r for r in read_results(tmp_path / "colossal")}
    harness = {r["id"]: r for r in read_results(tmp_path / "harness")}
    right = 0
    for number, q in enumerate(items.subjects[0].questions):
        listed = "".join(f"\n{x}. {o}" for x, o in zip("ABCD", q.options, strict=True))
        ids = spoken(
            "The following is a single-choice question on Anatomy. Answer the question by replying "
            f"A, B, C or D.\n\nQuestion: {q.text}{listed}\nAnswer: "
        )["input_ids"]
        with torch.no_grad():
            logits = asked.model(torch.tensor([ids])).logits[0, -1]
        best = [
            max(
                float(logits[spoken(f"Answer: {x}")["input_ids"][-1]]),
                float(logits[spoken(f"答案：{x}")["input_ids"][-1]]),
            )
            for x in "ABCD"
        ]
        line = colossal[f"anatomy/{number}"]
        assert line["scores"] == pytest.approx(best, abs=1e-4)
        assert line["picked"] == "ABCD"[best.index(max(best))]
        right += line["picked"] == q.answers[0]
        assert line["score"] == float(line["picked"] == q.answers[0])
        text = (
            "The following are multiple choice questions (with answers) about anatomy.\n\n"
            f"{q.text}{listed}\nAnswer:"
        )
        expected = naive(asked, text, [" A", " B", " C", " D"])
        assert harness[f"anatomy/{number}"]["scores"] == pytest.approx(expected, abs=1e-4)
    assert 0 < right < 10


def test_ten_items_of_the_published_table_scored_by_hand(tmp_path: Path) -> None:
    """The header that all subjects shared in 2023, one worked example, the larger of two logits."""
    asked, items = reader(), exam(10, shots=1)
    spoken = asked.tokenizer
    evaluate(asked, items, "colossal-2023", tmp_path)
    lines = {r["id"]: r for r in read_results(tmp_path)}
    (subject,) = items.subjects
    picked = []
    for number, q in enumerate(subject.questions):
        shown = [
            f"Question: {x.text}\n"
            + "\n".join(f"{a}. {o}" for a, o in zip("ABCD", x.options, strict=True))
            + f"\nAnswer: {x.answers[0] if x is not q else ''}"
            for x in (subject.shots[0], q)
        ]
        text = "\n\n".join(["The following are answers for questions in an exam.", *shown])
        with torch.no_grad():
            logits = asked.model(torch.tensor([spoken(text)["input_ids"]])).logits[0, -1]
        best = [
            max(
                float(logits[spoken(f"{cue}{x}")["input_ids"][-1]])
                for cue in ("Answer: ", "答案：")
            )
            for x in "ABCD"
        ]
        assert lines[f"anatomy/{number}"]["scores"] == pytest.approx(best, abs=1e-4)
        picked.append("ABCD"[best.index(max(best))])
    assert [lines[f"anatomy/{n}"]["picked"] for n in range(10)] == picked


def test_ten_written_answers_counted_by_hand(tmp_path: Path) -> None:
    """Written by transformers' own generate, the letter found by eye: a model with a taste for
    letters, which writes the likelier of A to D again and again.
    """
    model = random_llama(len(reader().tokenizer))
    spoken = reader().tokenizer
    with torch.no_grad():  # only the letters' rows may win
        for text in (" the", *(f"{blank}{x}" for blank in ("", " ") for x in "ABCD")):
            model.lm_head.weight[spoken(text)["input_ids"][-1]] *= 8
    items = exam(10, shots=0)
    evaluate(reader(model), items, "generate", tmp_path)
    lines = {r["id"]: r for r in read_results(tmp_path)}
    right = 0
    for number, q in enumerate(items.subjects[0].questions):
        listed = "".join(f"\n{x}. {o}" for x, o in zip("ABCD", q.options, strict=True))
        head = "The following is a single-choice question on Anatomy. "
        head += "Answer the question by replying A, B, C or D.\n\n"
        ids = spoken(f"{head}Question: {q.text}{listed}\nAnswer: ", return_tensors="pt")
        wrote = model.generate(**ids, max_new_tokens=64, do_sample=False, pad_token_id=0)
        text = spoken.decode(wrote[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        line = lines[f"anatomy/{number}"]
        assert line["text"] == text
        alone = [x for x in re.findall(r"(?<![a-z])[A-Z](?![a-z])", text) if x in "ABCD"]
        assert line["picked"] == (alone[0] if alone else "")
        right += bool(alone) and alone[0] == q.answers[0]
    assert sum(line["score"] for line in lines.values()) == right > 0


def test_ten_chinese_items_scored_by_hand(tmp_path: Path) -> None:
    """The two ids summed, from raw logits and from the scores after penalty and temperature."""
    asked, items = reader(), exam(10, suite="ceval", shots=0)
    spoken = asked.tokenizer
    evaluate(asked, items, "chinese-llama", tmp_path / "raw")
    evaluate(asked, items, "chinese-llama-asis", tmp_path / "asis")
    raw = {r["id"]: r for r in read_results(tmp_path / "raw")}
    asis = {r["id"]: r for r in read_results(tmp_path / "asis")}
    for number, q in enumerate(items.subjects[0].questions):
        listed = "".join(f"\n{x}. {o}" for x, o in zip("ABCD", q.options, strict=True))
        ids = spoken(f"{q.text}{listed}\n答案：")["input_ids"]
        with torch.no_grad():
            logits = asked.model(torch.tensor([ids])).logits[0, -1].double()
        read = torch.tensor(sorted(set(ids)))
        after = logits.clone()
        seen = logits[read]
        after[read] = torch.where(seen > 0, seen / 1.1, seen * 1.1)
        for lines, table in ((raw, logits), (asis, after / 0.2)):
            sums = [
                float(table[spoken(x)["input_ids"][0]] + table[spoken(f"：{x}")["input_ids"][-1]])
                for x in "ABCD"
            ]
            assert lines[f"anatomy/{number}"]["scores"] == pytest.approx(sums, abs=2e-4)


def test_options_texts_are_scored_whole_and_by_length(tmp_path: Path) -> None:
    asked = reader()
    q = Question("Why?", "ABC", ("it rains", "no", "because of wind"), answers=("C",))
    found = evaluate(
        asked, Exam("arc", "test", (Subject("arc-easy", [q]),), 0, None), "lm-eval", tmp_path
    )
    (line,) = read_results(tmp_path)
    expected = naive(asked, "Question: Why?\nAnswer:", [f" {o}" for o in q.options])
    assert line["scores"] == pytest.approx(expected, abs=1e-4)
    normed = [v / len(o) for v, o in zip(expected, q.options, strict=True)]
    assert line["normed"] == float(normed.index(max(normed)) == 2)
    assert set(found.measures) == {"accuracy", "accuracy by length"}


def test_a_gap_is_filled_and_the_rest_is_scored(tmp_path: Path) -> None:
    asked = reader()
    q = Question("The _ fell over it.", "AB", ("old cup", "sky"), answers=("A",))
    shot = Question("A _ ran.", "AB", ("dog", "log"), answers=("A",))
    exam_ = Exam("winogrande", "dev", (Subject("all", [q], [shot]),), 1, None)
    evaluate(asked, exam_, "lm-eval", tmp_path)
    (line,) = read_results(tmp_path)
    expected = [
        naive(asked, f"A dog ran.\n\nThe {o}", [" fell over it."])[0] for o in ("old cup", "sky")
    ]
    assert line["scores"] == pytest.approx(expected, abs=1e-4)


def test_the_mass_of_several_truths(tmp_path: Path) -> None:
    q = Question("Is it?", "ABC", ("No.", "Yes.", "Sure."), answers=("BC",))
    exam_ = Exam("truthfulqa-mc2", "dev", (Subject("all", [q]),), 0, None)
    evaluate(reader(), exam_, "lm-eval", tmp_path)
    (line,) = read_results(tmp_path)
    masses = torch.tensor(line["scores"]).double().softmax(0)
    assert line["score"] == pytest.approx(float(masses[1] + masses[2]), abs=1e-6)


def test_shared_beginnings_change_nothing(tmp_path: Path) -> None:
    items = exam(9, shots=3, subjects=("anatomy", "virology"))
    for protocol in ("colossal", "lm-eval", "generate"):
        found = {}
        for share in (True, False):
            folder = tmp_path / protocol / str(share)
            evaluate(dataclasses.replace(reader(), share=share), items, protocol, folder)
            found[share] = {r["id"]: r for r in read_results(folder)}
        for key, line in found[True].items():
            other = found[False][key]
            assert line.get("text") == other.get("text")
            assert line.get("scores", []) == pytest.approx(other.get("scores", []), abs=1e-4)


def test_a_killed_evaluation_goes_on_to_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, items = reader(), exam(12, subjects=("anatomy", "virology"))
    whole = evaluate(asked, items, "lm-eval", tmp_path / "whole")
    killed = tmp_path / "killed"
    evaluate(asked, items, "lm-eval", killed)
    (file,) = killed.glob("questions-*.jsonl")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])  # in the middle of a line
    read: list[int] = []
    import langraft.evals.suite as module

    original = module.read_rows

    def counted(model, rows, skip, prefix):  # noqa: ANN001, ANN202
        read.extend(row.question for row in rows)
        return original(model, rows, skip, prefix)

    monkeypatch.setattr(module, "read_rows", counted)
    again = evaluate(asked, items, "lm-eval", killed)
    assert again.measures == whole.measures
    assert len(read) == 12  # the first subject's batch was whole and is not read again
    lines = {r["id"]: r for r in read_results(killed)}
    assert lines == {r["id"]: r for r in read_results(tmp_path / "whole")}
    read.clear()
    evaluate(asked, items, "lm-eval", killed)
    assert read == []


def test_another_evaluations_folder_is_refused(tmp_path: Path) -> None:
    evaluate(reader(), exam(2), "lm-eval", tmp_path)
    with pytest.raises(BadInput, match="holds results of another evaluation"):
        evaluate(reader(), exam(2), "colossal", tmp_path)


@dataclasses.dataclass(frozen=True)
class Patient(Ranks):
    """A rank whose fellows have all come already, or are still to come."""

    def wait(self) -> None:
        """Nothing to wait for."""


@pytest.mark.parametrize("protocol", ["lm-eval", "generate"])
def test_two_ranks_find_what_one_finds(tmp_path: Path, protocol: str) -> None:
    asked, items = reader(), exam(7, subjects=("anatomy", "virology", "marketing"))
    asked = dataclasses.replace(asked)
    alone = evaluate(asked, items, protocol, tmp_path / "one")
    with pytest.raises(KeyError):  # the other rank's results are not there yet
        evaluate(asked, items, protocol, tmp_path / "two", Patient(1, 2))
    mine = len(list(read_results(tmp_path / "two")))
    assert 0 < mine < 21
    together = evaluate(asked, items, protocol, tmp_path / "two", Patient(0, 2))
    assert together.measures == alone.measures
    assert {p.name for p in (tmp_path / "two").glob("questions-*")} == {
        "questions-0.jsonl",
        "questions-1.jsonl",
    }


def test_a_broken_model_is_an_error_not_a_zero(tmp_path: Path) -> None:
    model = random_llama(len(reader().tokenizer))
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(RunFailed, match="not finite numbers"):
        evaluate(reader(model), exam(2), "colossal", tmp_path)


def test_the_card_says_what_decides_the_score(tmp_path: Path) -> None:
    asked = reader(window=200)
    found = evaluate(asked, exam(3, shots=4), "colossal", tmp_path)
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert card == found.card
    assert (card["protocol"], card["rule"], card["shots"]) == ("colossal", "max", 4)
    expected = asked.tokenizer("Answer: A")["input_ids"][-1]
    assert card["letter ids"]["A"][0] == expected
    assert found.notes == ["3 items lost whole worked examples to the window"]
    assert {r["shots"] for r in read_results(tmp_path)} < {0, 1, 2, 3}


def test_several_right_letters_are_scored_where_a_protocol_can(tmp_path: Path) -> None:
    several = Question("Which?", "ABCD", ("1", "2", "3", "4"), answers=("AC",))
    subject = Subject("gaokao-physics", [several, question(1, "C")])
    found = evaluate(
        reader(always("C")), Exam("agieval", "test", (subject,), 0, None), "colossal", tmp_path
    )
    assert {r["id"]: r["score"] for r in read_results(tmp_path)} == {
        "gaokao-physics/0": 0.5,
        "gaokao-physics/1": 1.0,
    }
    assert found.main.value == 0.75
    plain = dataclasses.replace(subject, key="anatomy")
    mixed = evaluate(
        reader(always("C")), Exam("mmlu", "test", (plain,), 0, None), "lm-eval", tmp_path / "b"
    )
    assert mixed.left_out == {"several right letters, which only colossal and generate score": 1}
    assert mixed.main.count == 1


def test_the_combined_rule_takes_either_the_first_token_or_the_text(tmp_path: Path) -> None:
    subject = Subject("sat-math", [question(1, "C"), question(2, "A")])
    found = evaluate(
        reader(always("C")), Exam("agieval", "test", (subject,), 0, None), "colossal", tmp_path
    )
    lines = {r["id"]: r for r in read_results(tmp_path)}
    assert lines["sat-math/0"]["written"] == "C"
    assert [lines[f"sat-math/{n}"]["score"] for n in (0, 1)] == [1.0, 0.0]
    assert found.main.value == 0.5
