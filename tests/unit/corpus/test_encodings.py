"""Files of Chinese text are read in the encodings that it is kept in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from langraft.core.errors import BadInput
from langraft.corpus.readers import Malformed, read_texts
from langraft.corpus.readers.encoding import detect

TextsOf = Callable[..., list[str]]
SIMPLIFIED = "人工智能正在改变我们的生活，但它也带来了新的问题。\n第二行：学习使人进步！\n"
TRADITIONAL = "人工智慧正在改變我們的生活，但它也帶來了新的問題。\n第二行：學習使人進步！\n"
ENCODINGS = {
    "utf-8": SIMPLIFIED,
    "utf-8-sig": SIMPLIFIED,
    "utf-16": SIMPLIFIED,
    "utf-16-le": SIMPLIFIED,
    "utf-16-be": TRADITIONAL,
    "gb18030": SIMPLIFIED,
    "gbk": SIMPLIFIED,
    "big5": TRADITIONAL,
    "cp950": TRADITIONAL,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_format_of_lines_is_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    text = ENCODINGS[encoding]
    record = json.dumps({"text": text}, ensure_ascii=False)
    contents = {
        "a.txt": text,
        "a.jsonl": record + "\n",
        "a.json": f"[{record},\n {record}]",
        "a.csv": f'n,text\n1,"{text}"\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.encode(encoding))
        found = [one.text for one in read_texts(tmp_path / name)]
        assert found == [text] * (2 if name == "a.json" else 1), name


def test_ascii_in_utf_16_is_recognised_without_a_mark() -> None:
    assert detect("Plain English text\nin lines.".encode("utf-16-le")) == "utf-16-le"
    assert detect("Plain English text\nin lines.".encode("utf-16-be")) == "utf-16-be"
    assert detect(b"Plain English text") == detect(b"") == "utf-8"


def test_a_spoilt_line_of_gb18030_is_malformed(tmp_path: Path) -> None:
    good = json.dumps({"text": SIMPLIFIED}, ensure_ascii=False).encode("gb18030") + b"\n"
    (tmp_path / "a.jsonl").write_bytes(good * 5 + b'{"text": "\xff"}\n' + good)
    flaws = Malformed()
    assert len(list(read_texts(tmp_path / "a.jsonl", "text", flaws))) == 6
    assert flaws.examples == [
        f"{tmp_path}/a.jsonl:6: character 10 is not gb18030, which the file is in"
    ]


def test_another_encoding_is_not_guessed(tmp_path: Path) -> None:
    """Latin-1 is not among those recognised: the first wrong byte is named."""
    text = "L'été dernier, nous étions à la plage près de Besançon.\n" * 9
    (tmp_path / "a.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"a\.txt:1: byte 2 \(0xe9\) is not UTF-8"):
        list(read_texts(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("name", "encodings", "least"),
    [
        ("zh/laws", ("gb18030", "utf-16-le", "utf-16-be", "utf-16", "utf-8"), 1.0),
        ("zh/lctt_zh", ("gb18030", "utf-16-le", "utf-16-be", "utf-8"), 1.0),
        ("zh/fewclue_tnews", ("gb18030", "utf-16-le", "utf-8"), 0.99),
        ("zh/chinese_poetry", ("big5hkscs", "gb18030", "utf-16-le", "utf-8"), 0.99),
        ("zh/tidb_docs_cn", ("gb18030", "utf-16-le", "utf-8"), 0.99),
    ],
)
def test_re_encoded_corpora_are_recognised(
    texts_of: TextsOf, name: str, encodings: tuple[str, ...], least: float
) -> None:
    """Each document as a file; a decoding counts as right when it gives the text back."""
    for encoding in encodings:
        right: Counter[bool] = Counter()
        for text in texts_of(name, 150):
            raw = text.encode(encoding, "ignore")[: 1 << 17 & ~1]
            guess = detect(raw)
            wanted = raw.decode(encoding, "ignore").removeprefix("\ufeff")
            right[raw.decode(guess, "ignore").removeprefix("\ufeff") == wanted] += 1
        assert right[True] >= least * right.total(), (encoding, right)
