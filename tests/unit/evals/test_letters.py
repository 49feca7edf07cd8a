"""Which ids stand for a letter, asked of real tokenizers."""

from __future__ import annotations

import pytest
from exams import tokenizer

from langraft.core.errors import BadInput
from langraft.evals.letters import letter_ids, with_penalty


def encoder(style: str):  # noqa: ANN201
    spoken = tokenizer(style)
    return lambda text: spoken(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("style", ["gpt2", "llama3", "sentencepiece"])
def test_the_two_ids_are_those_of_the_letter_in_context(style: str) -> None:
    encode, spoken = encoder(style), tokenizer(style)
    found = letter_ids(encode, "ABCD", "max")
    for letter, (after_blank, after_colon) in found.items():
        assert after_blank == encode(f"Answer: {letter}")[-1]
        assert spoken.convert_ids_to_tokens(after_blank).strip("Ġ▁ ") == letter
        assert spoken.convert_ids_to_tokens(after_colon) == letter
        assert after_blank != after_colon
    assert len({i for ids in found.values() for i in ids}) == 8


def test_chinese_llama_takes_the_first_id_of_the_bare_letter() -> None:
    """SentencePiece writes a bare letter with its dummy prefix, ▁A; byte-level ones do not."""
    pieces = tokenizer("sentencepiece").convert_ids_to_tokens
    found = letter_ids(encoder("sentencepiece"), "AB", "sum")
    assert [pieces(list(ids)) for ids in found.values()] == [["▁A", "A"], ["▁B", "B"]]
    same = letter_ids(encoder("gpt2"), "AB", "sum")
    assert all(first == second for first, second in same.values())


def test_letters_that_share_an_id_are_refused() -> None:
    with pytest.raises(BadInput, match="gives B and A the same id 7"):
        letter_ids(lambda text: [7], "AB", "max")


def test_the_penalty_pulls_what_was_read_towards_zero() -> None:
    assert with_penalty(2.2, True, 1.1, 0.2) == pytest.approx(10.0)
    assert with_penalty(-2.0, True, 1.1, 0.2) == pytest.approx(-11.0)
    assert with_penalty(2.2, False, 1.1, 0.2) == pytest.approx(11.0)
    assert with_penalty(2.2, True, 1.0, 1.0) == 2.2
