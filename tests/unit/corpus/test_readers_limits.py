"""Readers under strain: huge lines, many files, datasets folders, folders that refuse."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.corpus.readers import Malformed, Record, expand, read_texts
from langraft.corpus.readers import lines as lines_module
from langraft.corpus.readers.rows import PART, array_values


def arrow_stream(path: Path, texts: list[str]) -> None:
    """What `datasets.Dataset.save_to_disk` writes: the streaming format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(range(len(texts))), "text": texts})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder as `DatasetDict.save_to_disk` leaves it."""
    folder = tmp_path / "saved"
    for split, texts in {"train": ["一", "二", "三"], "test": ["四"]}.items():
        arrow_stream(folder / split / "data-00000-of-00001.arrow", texts)
        arrow_stream(folder / split / "cache-1f.arrow", ["缓存"])
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split}
        (folder / split / "state.json").write_text(json.dumps(state))
        (folder / split / "dataset_info.json").write_text('{"features": {}}')
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return folder


def test_a_saved_dataset_is_read_without_its_caches(saved: Path) -> None:
    files = expand(["saved"], saved.parent)
    assert [str(file.relative_to(saved)) for file in files] == [
        "test/data-00000-of-00001.arrow",
        "train/data-00000-of-00001.arrow",
    ]
    assert [one for file in files for one in read_texts(file)] == [
        Record("四", 1),
        Record("一", 1),
        Record("二", 2),
        Record("三", 3),
    ]


def test_a_hub_snapshot_is_read_through_its_links(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--x--y/snapshots/0a"
    blobs = tmp_path / "datasets--x--y/blobs"
    (snapshot / "data").mkdir(parents=True)
    blobs.mkdir()
    pq.write_table(pa.table({"text": ["一", "二"]}), blobs / "9f")
    (snapshot / "data/train-00000-of-00001.parquet").symlink_to(blobs / "9f")
    (snapshot / "dataset_infos.json").write_text("{}")
    (snapshot / "README.md").write_text("#")
    (file,) = expand([str(snapshot)], tmp_path)
    assert [one.text for one in read_texts(file)] == ["一", "二"]


def test_arrow_files_of_the_other_kind_and_broken_ones(tmp_path: Path) -> None:
    table = pa.table({"text": ["一", None, "二"]})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    flaws = Malformed()
    found = list(read_texts(tmp_path / "a.arrow", "text", flaws))
    assert (found, flaws.count) == ([Record("一", 1), Record("二", 3)], 1)
    arrow_stream(tmp_path / "b.arrow", ["一" * 99] * 9)
    (tmp_path / "b.arrow").write_bytes((tmp_path / "b.arrow").read_bytes()[:300])
    with pytest.raises(BadInput, match=r"b\.arrow: not a readable arrow file"):
        list(read_texts(tmp_path / "b.arrow"))
    with pytest.raises(BadInput, match="no column 'body'"):
        list(read_texts(tmp_path / "a.arrow", "body"))


def test_a_line_of_two_hundred_megabytes_is_skipped_in_bounded_memory(tmp_path: Path) -> None:
    """In a process of its own, whose address space has no room for two copies of the line."""
    good = json.dumps({"text": "好好学习"}, ensure_ascii=False).encode() + b"\n"
    compressor = zstandard.ZstdCompressor()
    with (tmp_path / "a.jsonl.zst").open("wb") as raw, compressor.stream_writer(raw) as stream:
        stream.write(good + b'{"text": "')
        for _ in range(200):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n' + good)
    script = f"""
        import json, resource
        from pathlib import Path
        from langraft.corpus.readers import Malformed, read_texts
        flaws = Malformed()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = list(read_texts(Path({str(tmp_path / "a.jsonl.zst")!r}), "text", flaws))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([[one.line for one in found], flaws.count, flaws.examples[0], grown]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, stdout=subprocess.PIPE
    )
    lines, count, example, grown = json.loads(done.stdout)
    assert (lines, count) == ([1, 3], 1)
    assert "2: the line is longer than 64 MiB" in example
    assert grown < 220_000  # KiB: the longest line kept, and its pieces


def test_long_lines_stop_formats_that_cannot_skip_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "LONGEST", 50)
    (tmp_path / "a.csv").write_text("text\nfine\n" + "x" * 99 + "\n")
    with pytest.raises(BadInput, match=r"a\.csv:3: the line is longer"):
        list(read_texts(tmp_path / "a.csv"))
    (tmp_path / "a.jsonl").write_bytes(
        '{"text": "好好学习天天向上"}\n'.encode("gb18030") + b"x" * 99 + b"\n" + b'{"text": "b"}\n'
    )
    flaws = Malformed()
    assert [one.line for one in read_texts(tmp_path / "a.jsonl", "text", flaws)] == [1, 3]
    assert flaws.count == 1


def test_a_large_txt_file_comes_in_parts(tmp_path: Path) -> None:
    line = "一行文字，不长也不短\n" * 1_000
    (tmp_path / "a.txt").write_text(line * (3 * PART // len(line)))
    found = list(read_texts(tmp_path / "a.txt"))
    assert len(found) == 3 and all(one.text.endswith("\n") for one in found)
    assert "".join(one.text for one in found) == (tmp_path / "a.txt").read_text()
    assert found[1].line == found[0].text.count("\n") + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=5), st.integers(1, 7), st.sampled_from([None, 1]))
def test_arrays_are_read_piece_by_piece(
    values: list[object], size: int, indent: int | None
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    assert list(array_values(pieces)) == values


@given(st.text('[]{}, 1"a', max_size=12))
def test_what_is_no_array_is_refused(text: str) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        wanted = None
    try:
        found = list(array_values(iter([text[:3], text[3:]])))
    except ValueError:
        found = None
    assert found == (wanted if isinstance(wanted, list) else None)


def test_an_array_larger_than_a_piece_needs_no_memory_for_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record = json.dumps({"text": "长" * 1_000}, ensure_ascii=False)
    path.write_text("[" + ",".join([record] * 20_000) + "]")  # 60 MB on one line
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in read_texts(path)) == 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


@pytest.mark.slow
def test_a_hundred_thousand_tiny_files(tmp_path: Path) -> None:
    for number in range(100_000):
        place = tmp_path / f"{number // 1_000:03d}"
        place.mkdir(exist_ok=True)
        (place / f"{number}.txt").write_text(f"第{number}个文件")
    started = time.monotonic()
    files = expand(["."], tmp_path)
    texts = {one.text for file in files for one in read_texts(file)}
    assert len(files) == len(texts) == 100_000
    assert time.monotonic() - started < 120


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    """As another user where the tests run as root, whom no folder refuses."""
    shut = tmp_path / "corpus" / "shut"
    shut.mkdir(parents=True)
    (shut / "a.txt").write_text("看不见")
    (tmp_path / "corpus" / "b.txt").write_text("看得见")
    (tmp_path / "corpus" / "c.txt").write_text("不给看")
    (tmp_path / "corpus" / "c.txt").chmod(0)
    shut.chmod(0)
    nobody = 65534

    def refused(action: str) -> str:
        process = os.fork()
        if process == 0:  # the child has the imports already: it need not read the environment
            if os.getuid() == 0:
                os.setuid(nobody)
            status = 0
            try:
                exec(action, {"expand": expand, "read_texts": read_texts, "at": at})
            except BadInput as error:
                (answers / "answer").write_text(str(error))
                status = 3
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 3
        return (answers / "answer").read_text()

    answers = tmp_path / "answers"
    answers.mkdir()
    answers.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents):  # pytest's own are closed to others
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o005:
            folder.chmod(0o755)
    at = tmp_path / "corpus"
    try:
        assert "shut: cannot be read (Permission denied)" in refused("expand(['.'], at)")
        assert "no permission" in refused("expand(['shut/a.txt'], at)")
        assert "c.txt: no permission to read it" in refused("list(read_texts(at / 'c.txt'))")
    finally:
        shut.chmod(0o755)
