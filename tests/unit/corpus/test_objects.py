"""JSON lines read by the block are what `json.loads` reads line by line, flaws included."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langraft.corpus.readers import Record, lines, rows
from langraft.corpus.readers import objects as objects_module
from langraft.corpus.readers.lines import Block
from langraft.corpus.readers.objects import _parsed, objects
from langraft.corpus.readers.records import Flaw, Run

SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TEXT = SHORT | st.builds(lambda text, many: text * many, SHORT, st.integers(2, 20))
FIELDS = st.fixed_dictionaries(
    {"text": TEXT},
    optional={
        "id": TEXT | st.integers() | st.none() | st.booleans() | st.lists(TEXT, max_size=2),
        "te\nxt": TEXT,
        "score": st.floats(),
    },
)
GOOD = st.builds(
    lambda value, ascii: json.dumps(value, ensure_ascii=ascii).encode(), FIELDS, st.booleans()
)
ODD = st.sampled_from(
    (
        *(
            b"",
            b"  ",
            b"{}",
            b"[]",
            b"null",
            b"{",
            b"}",
            b'"text"',
            b"\xff",
            b"\0",
            b"\xef\xbb\xbf",
        ),
        *(b'{"text": null}', b'{"text": 1}', b'{"text": ["a"]}', b'{"text": {"text": "a"}}'),
        *(
            b'{"text": "a"}{"text": "b"}',
            b'{"text": "a"} ',
            b'{"text": "a"},',
            b'{"text":',
            b'"b"}',
        ),
        *(b'{"text": "a", "text": "b"}', b'{"n": NaN, "text": "a"}', b'{"n": 01, "text": "a"}'),
        *(b'{"text": "\\ud800"}', b'{"text": "\\ud83d\\ude00"}', b'{"x": "\xff", "text": "a"}'),
        *(b'{"text": "a\tb"}', b'{"text": "a"}\r', b'{"\\u0074ext": "a"}', b'{"text": "\\x"}'),
        *(b'{"n": -, "text": "a"}', b'{"n": 1., "text": "a"}', b'{"n": truex, "text": "a"}'),
        *(b'{"n": -0.50, "text": "a"}', b'{"n": .5, "text": "a"}', b'{"text": "a",}', b'{"": "a"}'),
        *(b'{"text": "a"} x', b'{"text" "a"}', b'{,"text": "a"}', b'{"text": "a" "n": 1}', b'{"a'),
        *(b'{"text": "a\\', b'{"n": ' + b"9" * 5000 + b', "text": "a"}', b'{"n": tru'),
        *(b'{"n": 1e999, "text": "a"}', b'{"n": [{"text": "b"}], "text": "a"}', b'{"n": {}'),
    )
)


def read(path: Path, size: int) -> list[Record | Flaw]:
    """Everything `jsonl` gives, one by one."""
    found: list[Record | Flaw] = []
    with patch.object(lines, "BLOCK", size), patch.object(objects_module, "LEAST", 0):
        for one in rows.jsonl(path, "text"):
            if isinstance(one, Run):
                found += map(Record, one.texts, one.lines.tolist())
            else:
                found.append(one)
    return found


@given(
    st.lists(GOOD | GOOD | GOOD | ODD, max_size=8), st.sampled_from([7, 60, 4096]), st.booleans()
)
@example([b'{"text": "a"}{"text": "b"}', b'{"text":', b'"c"}'], 4096, True)
@example([b'{"text": "a"}{"text": "b"}', b""], 4096, True)
@example([b'{"text": ""}', b'{"n": ' + b"9" * 5000 + b', "text": "a"}'], 7, False)
def test_a_block_is_read_as_its_lines_are(
    tmp_path_factory: pytest.TempPathFactory, written: list[bytes], size: int, ended: bool
) -> None:
    path = tmp_path_factory.mktemp("objects") / "a.jsonl"
    path.write_bytes(b"\n".join(written) + b"\n" * ended)
    assert read(path, size) == list(rows._json_lines(lines.lines(path, strict=False), "text"))


def test_blocks_are_taken_whole_when_all_is_well() -> None:
    """Else the reader would be right and slow."""
    data = b"".join(json.dumps({"id": n, "text": f"第{n}行"}).encode() + b"\n" for n in range(9))
    run = objects(Block(40, 999, data), "text")
    assert run is not None
    assert list(run.texts) == [f"第{n}行" for n in range(9)]
    assert run.lines.tolist() == list(range(41, 50))


@pytest.mark.parametrize(
    ("line", "alone"),
    [
        ('{"id": "a", "text": "一\\n\\"二\\"\\\\三", "n": -1.5, "ok": true, "no": null}', True),
        ('{"id": "a", "text": "\\u4e00"}', False),
        ('{"meta": {"a": [1]}, "text": "一"}', False),
        ('{"n": 1e5, "text": "一"}', False),
    ],
)
def test_only_what_is_not_plain_goes_to_arrow(
    monkeypatch: pytest.MonkeyPatch, line: str, alone: bool
) -> None:
    monkeypatch.setattr(objects_module, "LEAST", 0)
    with patch.object(objects_module, "_parsed", side_effect=_parsed) as arrow:
        run = objects(Block(0, 0, f"{line}\n{line}".encode()), "text")
    assert run is not None
    assert list(run.texts) == [json.loads(line)["text"]] * 2
    assert arrow.called is not alone


def test_line_numbers_go_on_behind_lines_that_are_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 64)
    good = b'{"text": "a"}\n'
    (tmp_path / "a.jsonl").write_bytes(good * 2 + b"x" * 200 + b"\n" + good + b"\xff\n" + b"y" * 64)
    found = read(tmp_path / "a.jsonl", 30)
    assert [type(one).__name__ for one in found] == ["Record"] * 2 + ["Flaw", "Record"] + [
        "Flaw"
    ] * 2
    assert [one.line for one in found] == [1, 2, 3, 4, 5, 6]
    assert isinstance(found[4], Flaw) and found[4].why.startswith("byte 243 (0xff) is not UTF-8")
