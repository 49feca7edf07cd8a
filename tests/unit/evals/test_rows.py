"""Rows, their common beginnings, and the batches they are read in."""

from __future__ import annotations

from exams import tokenizer
from hypothesis import given
from hypothesis import strategies as st

from langraft.evals.rows import (
    Ask,
    Row,
    batches,
    common_prefix,
    continuation_rows,
    encode_pair,
    grouped,
    letter_row,
    option_texts,
    share_of,
)
from langraft.evals.suites import Question


def test_letters_are_asked_at_the_last_place() -> None:
    (row,) = letter_row(3, [7, 8, 9], {"A": (1, 2), "B": (4, 4)})
    assert row == Row(3, (7, 8, 9), (Ask(2, 1, 0), Ask(2, 2, 1), Ask(2, 4, 2), Ask(2, 4, 3)))


def test_single_token_continuations_share_a_row_and_longer_ones_do_not() -> None:
    short = continuation_rows(0, [([1, 2], [5]), ([1, 2], [6])])
    assert short == [Row(0, (1, 2), (Ask(1, 5, 0), Ask(1, 6, 1)))]
    long = continuation_rows(0, [([1, 2], [5, 6]), ([1, 2], [7, 8])])
    assert [row.ids for row in long] == [(1, 2, 5), (1, 2, 7)]
    assert long[1].asks == (Ask(1, 7, 1), Ask(2, 8, 1))


def test_blanks_at_the_end_of_a_context_go_to_what_follows() -> None:
    spoken = tokenizer()

    def encode(text: str) -> list[int]:
        return list(spoken(text)["input_ids"])

    for context, after in (("Answer: ", "A"), ("Answer:", " A"), ("答案：", " A")):
        before, rest = encode_pair(encode, context, after)
        assert before + rest == encode(context + after)
        assert spoken.decode(before) == context.rstrip()


def test_options_follow_the_question_or_fill_its_gap() -> None:
    asked = Question("The _ fell down.", "AB", ("cup", "sky"), answers=("A",))
    assert option_texts(asked, fill=False) == [("", " cup"), ("", " sky")]
    filled = [("The cup", " fell down."), ("The sky", " fell down.")]
    assert option_texts(asked, fill=True) == filled


def test_a_prefix_ends_before_the_first_scored_place() -> None:
    rows = [Row(n, (*range(20), 50 + n), (Ask(18, 1, 0), Ask(20, 2, 0))) for n in range(3)]
    assert common_prefix(rows) == 18
    (group,) = grouped([("x", row) for row in rows], share=True)
    assert group.prefix == 18
    (plain,) = grouped([("x", row) for row in rows], share=False)
    assert plain.prefix == 0
    (alone,) = grouped([("x", rows[0])], share=True)
    assert alone.prefix == 0


ROWS = st.lists(
    st.builds(lambda key, length: (key, length), st.sampled_from("abc"), st.integers(12, 60)),
    min_size=1,
    max_size=40,
)


@given(ROWS, st.integers(1, 200), st.integers(1, 5))
def test_every_row_is_read_once_within_the_budget_on_any_number_of_ranks(
    shapes: list[tuple[str, int]], tokens: int, world: int
) -> None:
    keyed = [
        (key, Row(n, (*([7] * 10), *[n + 100] * (length - 10)), (Ask(length - 1, 0, 0),)))
        for n, (key, length) in enumerate(shapes)
    ]
    groups = grouped(keyed, share=True)
    found = list(batches(groups, tokens))
    assert sorted(row.question for b in found for row in b.rows) == list(range(len(shapes)))
    for batch in found:
        longest = max(len(row.ids) for row in batch.rows) - groups[batch.group].prefix
        assert len(batch.rows) == 1 or longest * len(batch.rows) <= tokens
    shares = [share_of(found, groups, rank, world) for rank in range(world)]
    assert [batch for share in shares for batch in share] == found
