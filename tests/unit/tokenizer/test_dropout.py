"""BPE-dropout: its two ends are the two tokenizers, and what lies between spells the same text."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_bases import Extension, held_out, lines

from langraft.core.errors import BadInput
from langraft.tokenizer.dropout import Dropout

MIXED = st.text(alphabet="我们学习中文的国家规定。，「」 \nabcdeé😀12", max_size=60)


def test_nothing_left_out_is_the_extended_tokenizer(extension: Extension) -> None:
    texts = [*held_out()[:30], *lines("en", 100)]
    found = Dropout(extension.before, extension.after, 0.0).encode_batch(texts, seed=1)
    assert found == extension.after.encode_batch(texts)


def test_all_left_out_is_the_base_where_merges_do_the_work(extension: Extension) -> None:
    texts = held_out()[:30]
    found = Dropout(extension.before, extension.after, 1.0).encode_batch(texts, seed=1)
    if extension.style == "sentencepiece":  # characters stay whole: no merge makes them of bytes
        pieces = [extension.after.piece_text(index) for ids in found for index in ids]
        assert max(len(p.strip()) for p in pieces if "\u4e00" <= p.strip()[:1] <= "\u9fff") == 1
    else:
        assert found == extension.before.encode_batch(texts)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=MIXED, seed=st.integers(0, 9), share=st.floats(0, 1))
def test_the_text_is_spelled_and_english_is_not_touched(
    extension: Extension, text: str, seed: int, share: float
) -> None:
    dropout = Dropout(extension.before, extension.after, share)
    (ids,) = dropout.encode_batch([text], seed)
    assert extension.after.decode(ids) == extension.after.decode(extension.after.encode(text))
    assert dropout.encode_batch([text], seed) == [ids]
    english = "the end of it, 12 " + text.encode("ascii", "ignore").decode()
    assert dropout.encode_batch([english], seed) == extension.before.encode_batch([english])


def test_a_tenth_left_out_takes_some_more_tokens(extension: Extension) -> None:
    texts = held_out()[:30]
    plain = sum(map(len, extension.after.encode_batch(texts)))
    dropout = Dropout(extension.before, extension.after, 0.1)
    counts = [sum(map(len, dropout.encode_batch(texts, seed))) for seed in (1, 2)]
    assert counts[0] != counts[1]
    for count in counts:
        assert 1.005 < count / plain < 1.25


def test_no_probability_is_refused(extension: Extension) -> None:
    with pytest.raises(BadInput, match=r"dropout: 1\.5 is no probability"):
        Dropout(extension.before, extension.after, 1.5)
