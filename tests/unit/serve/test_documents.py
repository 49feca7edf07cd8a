from __future__ import annotations

import zipfile
from pathlib import Path

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.serve.documents import Bm25, Passage, read_folder, split, terms

LAW = (
    "第一条 为了保护劳动者的合法权益，制定本法。第二条 本法自2008年1月1日起施行！"
    "第三条 用人单位应当依法建立劳动规章制度？"
)


def pdf(text: str) -> bytes:
    """A one-page PDF by hand; the reader must find `text` in it."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + (
        b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\n"
        b"startxref\n%d\n%%%%EOF" % (table, len(out))
    )


def test_every_kind_of_document_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff第一条".encode())
    (tmp_path / "b.md").write_text("# Title\n\ntext", encoding="utf-8")
    (tmp_path / "c.html").write_text(
        "<title>t</title><script>no()</script><p>中文&amp;text</p><style>p{}</style><p>two</p>",
        encoding="utf-8",
    )
    (tmp_path / "d.pdf").write_bytes(pdf("Portable text"))
    word = docx.Document()
    word.add_paragraph("文档里的话")
    word.add_table(1, 1).cell(0, 0).text = "in a cell"
    word.save(str(tmp_path / "sub.docx"))
    found = dict(read_folder(tmp_path))
    assert found["a.txt"] == "第一条"
    assert "no()" not in found["c.html"]
    assert found["c.html"].splitlines() == ["t", "中文&text", "two"]
    assert "Portable text" in found["d.pdf"]
    assert found["sub.docx"] == "文档里的话\nin a cell"


def test_what_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.txt").write_text("text")
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    with zipfile.ZipFile(tmp_path / "empty.docx", "w") as archive:
        archive.writestr("x", "y")
    (tmp_path / "outside.txt").symlink_to("/etc/hostname")
    assert read_folder(tmp_path) == [("good.txt", "text")]
    warned = capsys.readouterr().err
    assert all(name in warned for name in ("latin.txt", "broken.pdf", "empty.docx"))
    with pytest.raises(BadInput, match="holds no text"):
        read_folder(tmp_path / "broken.pdf")
    with pytest.raises(BadInput, match="no such file"):
        read_folder(tmp_path / "none")


def test_passages_end_where_chinese_sentences_end() -> None:
    found = [passage.text for passage in split("law", LAW, 40)]
    assert found[0].endswith("制定本法。")
    assert all(text[-1] in "。！？" for text in found)
    assert "".join(dict.fromkeys("".join(found))) == "".join(dict.fromkeys(LAW))


@given(st.text(max_size=400), st.integers(20, 200))
def test_no_character_is_lost_and_places_are_right(text: str, size: int) -> None:
    covered = [False] * len(text)
    for passage in split("f", text, size):
        assert text[passage.start : passage.start + len(passage.text)] == passage.text
        assert len(passage.text) <= size
        covered[passage.start : passage.start + len(passage.text)] = [True] * len(passage.text)
    assert all(seen or character.isspace() for seen, character in zip(covered, text, strict=True))


def test_chinese_is_counted_by_bigrams_and_words_by_words() -> None:
    assert terms("劳动法 GPU加速 Don't") == ["劳动", "动法", "gpu", "加速", "don", "t"]
    assert terms("法") == ["法"]


def test_bm25_by_hand_and_on_a_law() -> None:
    ranked = Bm25([Passage("f", 0, "a b"), Passage("f", 1, "a a c d"), Passage("f", 2, "e")])
    # ln(1 + (3 - 2 + 0.5) / (2 + 0.5)) x 1 x 2.5 / (1 + 1.5 x (0.25 + 0.75 x 2 / (7 / 3)))
    assert ranked.scores("a")[0] == pytest.approx(0.4700036 * 2.5 / (1 + 1.5 * 0.8928571))
    assert ranked.scores("a")[2] == 0
    passages = split("law", LAW, 30)
    (best,) = Bm25(passages).best("什么时候施行", 1)
    assert "2008年" in best.text
    assert Bm25(passages).best("zebra", 3) == []
