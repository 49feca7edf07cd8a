"""Word lists and the two spaces that pieces are compared in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizer_bases import Extension, make_extension, train_texts

from langraft.core.errors import BadInput
from langraft.graft.vectors import counted_vectors, donor_vectors
from langraft.graft.words import read_words, translations

LIST = """# CC-CEDICT
傳統 传统 [chuan2 tong3] /tradition/traditional/CL:個|个[ge4]/
蘋果 苹果 [ping2 guo3] /apple/CL:個|个[ge4]/
去 去 [qu4] /to go (somewhere)/to go away from here now/to remove/surname Qu/
水\twater; liquid
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Extension:
    return make_extension(tmp_path_factory.mktemp("words"), "gpt2")


def test_both_formats(tmp_path: Path) -> None:
    path = tmp_path / "words.u8"
    path.write_text(LIST, encoding="utf-8")
    found = read_words(path)
    assert found["传统"] == found["傳統"] == ["tradition", "traditional"]
    assert found["苹果"] == ["apple"]
    assert found["去"] == ["go", "remove"]
    assert found["水"] == ["water", "liquid"]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("水\twater\nno translation here\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"words.tsv:2: neither"):
        read_words(path)
    with pytest.raises(BadInput, match="no such file"):
        read_words(tmp_path / "none")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="must be UTF-8"):
        read_words(path)


def test_pieces_get_the_ids_of_their_translations(pair: Extension) -> None:
    first, last = pair.before.size, pair.after.size
    whole = [
        i for i in range(first, last) if "\N{REPLACEMENT CHARACTER}" not in pair.after.piece_text(i)
    ]
    number, word = whole[3] - first, pair.after.piece_text(whole[3])
    senses, known = translations({word: ["the system", "rules"]}, pair.before, pair.after)
    assert known == 1
    assert len(senses) == pair.after.size - pair.before.size
    spelt = [b"".join(pair.before.piece_bytes(t) for t in ids) for ids in senses[number]]
    assert spelt == [b" the system", b" rules"]
    assert not senses[whole[4] - first]


def test_tokens_used_alike_are_near() -> None:
    """Base tokens 0 and 1 stand among 4 and 5, token 2 among 6 and 7; piece 8 like 0, piece 9
    like 2.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    documents = []
    for _ in range(400):
        kind = generator.integers(2)
        middle = generator.choice([0, 1, 8] if kind else [2, 3, 9])
        around = generator.choice([4, 5] if kind else [6, 7], size=4)
        documents.append([*around[:2], int(middle), *around[2:]])
    found = counted_vectors(documents, base_size=8, pieces=3)
    assert found.where.tolist() == [0, 1]
    assert not found.pieces[2].any()
    near = (
        torch.nn.functional.normalize(found.pieces[:2], dim=1)
        @ torch.nn.functional.normalize(found.anchors, dim=1).T
    )
    by_id = {int(i): near[:, n] for n, i in enumerate(found.anchor_ids)}
    assert by_id[0][0] > 0.6 > 0.2 > by_id[2][0]
    assert by_id[2][1] > 0.6 > 0.2 > by_id[0][1]
    again = counted_vectors(documents, base_size=8, pieces=3)
    assert torch.equal(found.pieces, again.pieces)


def test_documents_do_not_see_one_another() -> None:
    """Two tokens that are always last and first of neighbouring documents never meet."""
    found = counted_vectors([[0, 1], [2, 3]] * 40, base_size=4, pieces=0)
    near = torch.nn.functional.normalize(found.anchors, dim=1)
    assert abs(float(near[1] @ near[2])) < 1e-3


def test_too_little_text() -> None:
    with pytest.raises(BadInput, match="too few to compare"):
        counted_vectors([[0, 9, 9, 9, 9, 9]], base_size=8, pieces=3)


def test_a_donor_is_matched_by_bytes(pair: Extension) -> None:
    """The extended model as its own donor knows every piece by its own row."""
    matrix = torch.randn(pair.after.size, 6, generator=torch.Generator().manual_seed(0))
    found = donor_vectors(pair.after, matrix, pair.before, pair.after)
    assert len(found.where) == pair.after.size - pair.before.size
    torch.testing.assert_close(found.pieces, matrix[pair.before.size :])
    torch.testing.assert_close(found.anchors, matrix[found.anchor_ids])
    assert len(found.anchor_ids) >= 0.9 * pair.before.size


def test_real_text_gives_vectors(pair: Extension) -> None:
    documents = pair.after.encode_batch(train_texts()[:40])
    added = pair.after.size - pair.before.size
    found = counted_vectors(documents, pair.before.size, added)
    assert len(found.where) > 20
    assert found.pieces.shape == (added, 64)
    assert found.pieces.isfinite().all()


def test_a_sentencepiece_base_gets_no_dummy_prefix(tmp_path: Path) -> None:
    """Each word of a translation stands in mid-text: one space, and no `▁` of its own before it."""
    pair = make_extension(tmp_path, "sentencepiece")
    first, last = pair.before.size, pair.after.size
    word = next(pair.after.piece_text(i) for i in range(first, last))
    senses, known = translations({word: ["the law"]}, pair.before, pair.after)
    assert known == 1
    (ids,) = next(found for found in senses if found)
    assert b"".join(pair.before.piece_bytes(index) for index in ids) == b" the law"
