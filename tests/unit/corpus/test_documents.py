"""Documents survive the file they are written to; the same documents give the same bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.corpus.documents import Document, read_documents, write_documents

ONE = Document(
    "zh-1", "第一行\n\u2028“引号”\n", "zh", "zh", "knowledge", {"place": "a.jsonl:3", "n": 7}
)


def test_round_trip_keeps_every_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    assert write_documents(path, [ONE, dataclasses.replace(ONE, id="zh-2", meta={})]) == 2
    first, second = read_documents(path)
    assert first == ONE
    assert (second.id, second.meta) == ("zh-2", {})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("documents") / "a.jsonl.zst"
    write_documents(path, [dataclasses.replace(ONE, text=text) for text in texts])
    assert [document.text for document in read_documents(path)] == texts


def test_same_documents_same_bytes(tmp_path: Path) -> None:
    many = [dataclasses.replace(ONE, id=str(n)) for n in range(500)]
    for name in ("a", "b"):
        write_documents(tmp_path / f"{name}.jsonl.zst", many)
    assert (tmp_path / "a.jsonl.zst").read_bytes() == (tmp_path / "b.jsonl.zst").read_bytes()


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Document]:
        yield ONE
        raise BadInput("stop")

    with pytest.raises(BadInput, match="stop"):
        write_documents(tmp_path / "a.jsonl.zst", failing())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [b'{"id": "x"}\n', b'{"id": "x", "more": 1}\n', b"[1]\n", b"{\n"])
def test_what_is_no_document_is_named_by_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(ONE.to_line() + line))
    documents = read_documents(path)
    assert next(documents) == ONE
    with pytest.raises(BadInput, match=r"a\.jsonl\.zst:2: "):
        next(documents)


def test_no_flipped_byte_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    write_documents(path, [ONE])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert list(read_documents(path)) == [ONE], place
        except BadInput:
            continue
