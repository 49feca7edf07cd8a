"""Lines that are written without making Python objects are those that `json` would write."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.documents import Document, encoded
from langraft.corpus.kernels.escape import framed
from langraft.corpus.kernels.sign import document_keys
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.writing import lines_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
EVERY_ASCII = "".join(map(chr, range(128)))


@given(st.lists(TEXT, max_size=5))
def test_any_text_is_escaped_as_json_does(texts: list[str]) -> None:
    texts = [*texts, EVERY_ASCII, "“引号”\u2028\U0001f600", "很长" * 40 + "\n" + "。" * 32 + '"']
    names = Texts.of(f"<{number}>" for number in range(len(texts)))
    found = framed(Texts.of(texts).take(np.arange(len(texts))[::-1]), names, names)
    inside = (json.dumps(text, ensure_ascii=False)[1:-1] for text in reversed(texts))
    wanted = "".join(f"<{n}>{text}<{n}>" for n, text in enumerate(inside))
    assert found.tobytes().decode() == wanted


@given(st.lists(TEXT, min_size=1, max_size=4), TEXT, TEXT)
def test_lines_are_those_of_documents(texts: list[str], source: str, note: str) -> None:
    metas = [{"place": f"{note}:{n}", "n": n} if n else {} for n in range(len(texts))]
    like = Document(f"{source}-", "", source, "zh", note)
    names = [f"{n:032x}".encode() for n in range(len(texts))]
    found = lines_of(Texts.of(texts), names, like, [encoded(meta) for meta in metas])
    wanted = [
        Document(f"{source}-{n:032x}", text, source, "zh", note, meta).to_line()
        for n, (text, meta) in enumerate(zip(texts, metas, strict=True))
    ]
    assert found.tobytes() == b"".join(wanted)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_key_is_of_all_but_white_space(text: str) -> None:
    """`str.split` knows the same white space, beyond ASCII too."""
    spaced = f"\u3000{text}\u2003\x85中\u1680文"
    assert document_keys(Texts.of([spaced])) == document_keys(Texts.of(["".join(spaced.split())]))
