"""Files: compressed, atomic, on full disks."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import (
    disk_errors,
    folder_hashes,
    open_atomic,
    open_binary,
    read_json,
    remove,
    replace_folder,
    sha256_json,
    write_atomic,
    write_json,
)

CONTENT = "".join(f"中文 {n * n}\n" for n in range(5_000)).encode()


def _write(path: Path) -> bytes:
    packed = {
        ".gz": gzip.compress(CONTENT),
        ".zst": zstandard.ZstdCompressor(level=1).compress(CONTENT),
        ".txt": CONTENT,
    }[path.suffix]
    path.write_bytes(packed)
    return packed


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".txt"])
def test_reading(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    _write(path)
    with open_binary(path) as stream:
        assert stream.read() == CONTENT


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("cut", [1, 5, 60])
def test_truncated(tmp_path: Path, suffix: str, cut: int) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(_write(path)[:-cut])
    wanted = f"a{suffix}: the compressed file is truncated or corrupt"
    with pytest.raises(BadInput, match=wanted), open_binary(path) as stream:
        stream.read()


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_corrupt(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"this is plain text")
    path = tmp_path / f"a{suffix}"
    with pytest.raises(BadInput, match="truncated or corrupt"), open_binary(path) as stream:
        stream.read()


@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=5), size=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_zstd_of_several_frames_in_small_reads(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], size: int
) -> None:
    path = tmp_path_factory.mktemp("zst") / "a.zst"
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(part) for part in parts))
    found = []
    with open_binary(path) as stream:
        while chunk := stream.read(size):
            found.append(chunk)
    assert b"".join(found) == b"".join(parts)


def test_missing_and_folder(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "no.txt", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(BadInput, match=message), open_binary(path):
            pass


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    assert folder_hashes(tmp_path) == {
        "a": hashlib.sha256(b"1").hexdigest(),
        "b/c": hashlib.sha256(b"2").hexdigest(),
    }
    assert sha256_json({"b": 1, "a": [2]}) == hashlib.sha256(b'{"a":[2],"b":1}').hexdigest()


def test_write_atomic(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "one")
    write_atomic(path, b"two")
    assert path.read_text() == "two"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), open_atomic(path) as stream:
        stream.write(b"half")
        raise KeyError
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    wanted = r"a\.txt: cannot write \(No space left on device\); \d+\.\d\d GB are free"
    with pytest.raises(RunFailed, match=wanted):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_free_space_is_told_for_a_folder_not_made_yet(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="GB are free"), disk_errors(tmp_path / "x" / "y"):
        raise OSError(errno.EDQUOT, "quota")


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "no").read_text()


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"中": 1})
    assert read_json(path) == {"中": 1}
    assert "中" in path.read_text(encoding="utf-8")
    path.write_text('{"a": 1,\n"b" 2}')
    with pytest.raises(BadInput, match=r"a\.json: not valid JSON .*line 2"):
        read_json(path)
    path.write_bytes(b'"\xff"')
    with pytest.raises(BadInput, match="not valid JSON"):
        read_json(path)
    with pytest.raises(BadInput, match="no such file"):
        read_json(tmp_path / "b.json")


def test_replace_folder(tmp_path: Path) -> None:
    final, partial = tmp_path / "a", tmp_path / "a.partial"
    for text in ("one", "two"):
        partial.mkdir()
        (partial / "file").write_text(text)
        replace_folder(partial, final)
        assert (final / "file").read_text() == text
        assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_remove(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").touch()
    for name in ("folder", "link", "file", "nothing"):
        remove(tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
