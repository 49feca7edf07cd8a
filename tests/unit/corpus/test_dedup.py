"""Keys: 128 bits, blind to layout, sensitive to everything else."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.dedup import ExactDedup, document_key


def test_the_key_is_blake2b_of_the_text_without_white_space() -> None:
    expected = hashlib.blake2b("床前明月光，疑是地上霜。".encode(), digest_size=16).digest()
    assert document_key("床前明月光，\n\n  疑是地上霜。\t") == expected
    assert len(expected) * 8 == 128


@given(st.text("ab中 \n", max_size=8), st.text("ab中 \n", max_size=8))
def test_equal_keys_mean_equal_texts_but_for_layout(one: str, two: str) -> None:
    same = "".join(one.split()) == "".join(two.split())
    assert (document_key(one) == document_key(two)) == same


def test_the_first_of_equal_documents_is_new() -> None:
    dedup = ExactDedup()
    keys = [document_key(text) for text in ("甲", "乙", "甲 ", "丙", "乙")]
    assert [dedup.is_new(key) for key in keys] == [True, True, False, True, False]
