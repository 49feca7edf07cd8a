"""Texts are encoded together and once."""

from __future__ import annotations

from exams import tokenizer

from langraft.evals import memo
from langraft.evals.memo import Memo


def test_each_text_is_encoded_once_and_as_by_itself(monkeypatch) -> None:  # noqa: ANN001
    asked: list[list[str]] = []

    def encode(texts: list[str], special: bool) -> list[list[int]]:
        asked.append(texts)
        return list(tokenizer()(texts, add_special_tokens=special)["input_ids"])

    found = Memo(encode)
    found.fill(["one two", "three", "one two"], True)
    assert found("three", True) == tokenizer()("three")["input_ids"]
    assert asked == [["one two", "three"]]
    found("three", False)
    assert asked[1:] == [["three"]]
    monkeypatch.setattr(memo, "MOST", 4)
    found.fill(["three", "a", "b"], True)  # too many with the old ones, which are forgotten
    assert asked[2:] == [["three", "a", "b"]]
    assert [found(text, True) for text in ("a", "b", "three")] == [
        tokenizer()(text)["input_ids"] for text in ("a", "b", "three")
    ]
    assert len(asked) == 3
