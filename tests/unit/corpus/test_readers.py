"""Every format, plain or packed, gives the same records; broken files are named and why."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.corpus.readers import Malformed, Record, expand, read_texts

TEXTS = ["第一篇。\n有两行，“带引号”", 'second, with "quotes"', "третий"]


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _parquet(texts: list[str], folder: Path) -> bytes:
    pq.write_table(pa.table({"n": range(len(texts)), "text": texts}), folder / "made")
    return (folder / "made").read_bytes()


WRITERS: dict[str, Callable[[list[str], Path], bytes]] = {
    ".jsonl": lambda texts, _: "".join(
        json.dumps({"n": 1, "text": t}, ensure_ascii=False) + "\n" for t in texts
    ).encode(),
    ".json": lambda texts, _: json.dumps([{"text": t} for t in texts], indent=1).encode(),
    ".csv": lambda texts, _: "".join(
        f"{n},{text}\r\n" for n, text in [("n", "text"), *((7, _csv_cell(t)) for t in texts)]
    ).encode(),
    ".parquet": _parquet,
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_texts(tmp_path: Path, suffix: str, packing: str) -> None:
    path = tmp_path / f"a{suffix}{packing}"
    path.write_bytes(PACKERS[packing](WRITERS[suffix](TEXTS, tmp_path)))
    flaws = Malformed()
    assert [record.text for record in read_texts(path, "text", flaws)] == TEXTS
    assert flaws.count == 0


@pytest.mark.parametrize("packing", PACKERS)
def test_a_txt_file_is_one_text(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(PACKERS[packing]("一\r\n\r\n二\n".encode()))
    assert list(read_texts(path)) == [Record("一\r\n\r\n二\n", 1)]


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_byte_order_mark_is_removed(tmp_path: Path) -> None:
    for name, content in {
        "a.txt": "一",
        "b.jsonl": '{"text": "一"}\n',
        "c.json": '[{"text": "一"}]',
        "d.csv": "text\n一\n",
    }.items():
        path = write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())
        assert [record.text for record in read_texts(path)] == ["一"], name


def test_malformed_lines_are_counted_named_and_skipped(tmp_path: Path) -> None:
    lines = [
        '{"text": "好"}',
        "{broken",
        "",
        "[1, 2]",
        '{"body": "x", "id": 3}',
        '{"text": null}',
        '{"text": "\\ud800"}',
        "[" * 100_000,
        '{"text": "也好"}',
    ]
    wrong = len("\n".join(lines).encode()) + len('\n{"text": "')
    path = write(tmp_path, "a.jsonl", "\n".join(lines).encode() + b'\n{"text": "\xba\xc3"}')
    flaws = Malformed()
    assert list(read_texts(path, "text", flaws)) == [Record("好", 1), Record("也好", 9)]
    assert flaws.count == 7
    expected = [
        "a.jsonl:2: not JSON",
        "a.jsonl:4: a JSON list, not an object",
        "a.jsonl:5: no key 'text'; it has 'body', 'id'",
        "a.jsonl:6: 'text' is a NoneType, not a string",
        "a.jsonl:7: character 0 of the text is a lone surrogate",
        "a.jsonl:8: not JSON",
        f"a.jsonl:10: byte {wrong} (0xba) is not UTF-8",
    ]
    for example, words in zip(flaws.examples, expected, strict=True):
        assert words in example


def test_only_ten_examples_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "好"}\n' + "{\n" * 500)
    flaws = Malformed()
    assert len(list(read_texts(path, "text", flaws))) == 1
    assert (flaws.count, len(flaws.examples)) == (500, 10)


def test_without_a_collector_malformed_lines_are_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list(read_texts(write(tmp_path, "a.jsonl", '{"text": "好"}\n{\n')))
    shown = " ".join(capsys.readouterr().err.split())
    assert "1 malformed records skipped" in shown


def test_a_file_without_the_key_is_given_up_early(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"body": "x"}\n' * 5_000)
    flaws = Malformed()
    with pytest.raises(BadInput, match=r"a\.jsonl:1: no key 'text'; it has 'body'.*text_key"):
        list(read_texts(path, "text", flaws))
    assert flaws.count == 100
    assert len(list(read_texts(path, "body"))) == 5_000


def test_json_files_may_hold_one_object_or_lines(tmp_path: Path) -> None:
    one = write(tmp_path, "one.json", '{\n "text": "一"\n}\n')
    lines = write(tmp_path, "lines.json", '\n{"text": "一"}\n{"text": "二"}\n{\n')
    flaws = Malformed()
    assert [record.text for record in read_texts(one)] == ["一"]
    assert list(read_texts(lines, "text", flaws)) == [Record("一", 2), Record("二", 3)]
    assert (flaws.count, flaws.examples[0].split(": ")[0]) == (1, f"{lines}:4")


def test_csv_rows_of_another_width_are_malformed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'n,text\n1,"二\n行"\n\n2\n3,三,x\n4,"四"x\n5,五\n')
    flaws = Malformed()
    assert list(read_texts(path, "text", flaws)) == [Record("二\n行", 2), Record("五", 8)]
    assert [example.split(": ", 1)[1] for example in flaws.examples[:2]] == [
        "1 fields, the header has 2",
        "3 fields, the header has 2",
    ]
    assert [int(example.split(":")[1]) for example in flaws.examples] == [5, 6, 7]


def test_a_csv_field_may_be_long(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text\n" + "长" * 200_000 + "\n")
    assert [len(record.text) for record in read_texts(path)] == [200_000]


def test_parquet_nulls_are_malformed_and_dictionaries_are_strings(tmp_path: Path) -> None:
    column = pa.array(["一", None, "一"]).dictionary_encode()
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    flaws = Malformed()
    records = list(read_texts(tmp_path / "a.parquet", "text", flaws))
    assert records == [Record("一", 1), Record("一", 3)]
    assert flaws.examples == [f"{tmp_path}/a.parquet:2: 'text' is a NoneType, not a string"]


GOOD = '{"text": "好好学习"}\n'.encode()
BROKEN = {
    "empty.jsonl": (b"", "is empty"),
    "blank.txt": (b" \n\n", "is empty"),
    "header.csv": (b"text\n", "is empty"),
    "none.json": (b"[]", "is empty"),
    "empty.jsonl.gz": (gzip.compress(b""), "is empty"),
    "cut.jsonl.gz": (gzip.compress(GOOD * 9)[:-12], "truncated or corrupt"),
    "cut.jsonl.zst": (zstandard.compress(GOOD * 9)[:-5], "truncated or corrupt"),
    "not.jsonl.zst": (GOOD, "truncated or corrupt"),
    "gbk.csv": (
        b"text\n" + GOOD + "好\n".encode("gbk"),
        "gbk.csv:3: byte 30 (0xba) is not UTF-8",
    ),
    "gbk.txt": (b"\xef\xbb\xbfab\n\xba\xc3", "gbk.txt:2: byte 6 (0xba) is not UTF-8"),
    "nul.jsonl": (bytes(5_000), "is filled with NUL bytes"),
    "cut.txt.bz2": (bz2.compress(GOOD * 9)[:-5], "truncated or corrupt"),
    "not.txt.bz2": (GOOD, "the compressed file is corrupt"),
    "column.csv": (b"id,body\n1,x\n", "no column 'text'; it has 'id', 'body'"),
    "twice.csv": (b"text,text\n1,x\n", "more than one column 'text'"),
    "quote.csv": (b'text\nfine\n"open\nmore\n', "quote.csv:3: a quote that opens"),
    "broken.json": (b'[{"text": "x"},\n', "not JSON, and not JSON lines"),
    "number.json": (b"[1, 2]", "number.json:1: a JSON int, not an object"),
    "text.parquet": (GOOD, "not a readable parquet file"),
    "a.docx": (GOOD, "not a known format; langraft reads .txt"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    content, reason = BROKEN[name]
    path = write(tmp_path, name, content)
    with pytest.raises(BadInput) as caught:
        list(read_texts(path))
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_parquet_columns_are_checked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1], "body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="no column 'text'; it has 'n', 'body'"):
        list(read_texts(tmp_path / "a.parquet"))
    with pytest.raises(BadInput, match="column 'n' holds int64, not strings"):
        list(read_texts(tmp_path / "a.parquet", "n"))
    cut = (tmp_path / "a.parquet").read_bytes()[:-20]
    with pytest.raises(BadInput, match="not a readable parquet file"):
        list(read_texts(write(tmp_path, "b.parquet", cut)))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.jsonl: no such file"):
        list(read_texts(tmp_path / "none.jsonl"))
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        list(read_texts(tmp_path / "d.jsonl"))


def test_reading_is_streamed(tmp_path: Path) -> None:
    """The first record comes before the fault further down is met."""
    records = read_texts(write(tmp_path, "a.csv", b"text\nfine\n\xff\n"))
    assert next(records).text == "fine"
    with pytest.raises(BadInput, match="not UTF-8"):
        next(records)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.txt", "deep/c.csv.gz", "deep/er/d.jsonl.zst"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("README.md", "deep/.hidden.txt", ".git/x.txt", "deep/e.jsonl.partial"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["."], ["a.txt", "b.jsonl", "deep/c.csv.gz", "deep/er/d.jsonl.zst"]),
        (["deep"], ["deep/c.csv.gz", "deep/er/d.jsonl.zst"]),
        (["b.jsonl", "a.txt"], ["a.txt", "b.jsonl"]),
        (["*.txt", "a.txt", "deep/../a.txt"], ["a.txt"]),
        (["**/*.zst"], ["deep/er/d.jsonl.zst"]),
        (["d*"], ["deep/c.csv.gz", "deep/er/d.jsonl.zst"]),
        (["deep/.hidden.txt"], ["deep/.hidden.txt"]),
    ],
)
def test_expand(tree: Path, paths: list[str], names: list[str]) -> None:
    assert expand(paths, tree) == [tree / name for name in names]


def test_a_glob_that_pathlib_refuses(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'///x': not a usable path or glob"):
        expand(["///x"], tmp_path)


def test_expand_takes_absolute_paths_and_brackets(tree: Path) -> None:
    (tree / "x[1].txt").touch()
    assert expand([f"{tree}/*.jsonl"], Path("elsewhere")) == [tree / "b.jsonl"]
    assert expand(["x[1].txt"], tree) == [tree / "x[1].txt"]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("c.jsonl", "matches no file"),
        ("none/*.txt", "matches no file"),
        ("*.md", "matches 1 files, none of a known format"),
        ("README.md", "not a known format"),
    ],
)
def test_what_matches_nothing_is_named(tree: Path, pattern: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason) as caught:
        expand(["a.txt", pattern], tree)
    assert pattern in str(caught.value)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6))
def test_any_text_survives_jsonl(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    path = write(folder, "a.jsonl", WRITERS[".jsonl"](texts, folder))
    assert [record.text for record in read_texts(path)] == texts
