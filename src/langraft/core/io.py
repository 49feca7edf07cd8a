"""Files: compressed text in, atomic writes out, hashes. Nothing half-written ever carries a final
name.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from langraft.core.errors import BadInput, RunFailed

PARTIAL = ".partial"


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for reading, decompressing `.gz`, `.bz2` and `.zst` by name.

    Raises:
        BadInput: the file is missing, unreadable, or its compressed stream is truncated or corrupt.
    """
    try:
        with path.open("rb") as raw:
            if path.suffix == ".gz":
                with gzip.open(raw) as stream:
                    yield cast(BinaryIO, stream)
            elif path.suffix == ".bz2":
                with bz2.open(raw) as stream:
                    yield cast(BinaryIO, stream)
            elif path.suffix == ".zst":
                yield cast(BinaryIO, io.BufferedReader(_ZstdFrames(raw)))
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise BadInput(
            f"{path}: the compressed file is truncated or corrupt ({error}); fetch it again"
        ) from error
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise BadInput(f"{path}: is a folder, a file was expected") from error
    except PermissionError as error:
        raise BadInput(f"{path}: no permission to read it") from error
    except OSError as error:
        if error.errno is not None:  # bz2 reports a corrupt stream as a bare OSError
            raise
        raise BadInput(f"{path}: the compressed file is corrupt ({error})") from error


class _ZstdFrames(io.RawIOBase):
    """A zstd stream that reports truncation: the library's own reader ends silently in
    mid-frame.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._engine = zstandard.ZstdDecompressor().decompressobj()
        self._buffer = memoryview(b"")  # slicing bytes would copy the rest at every small read
        self._in_frame = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._buffer:
            rest = self._engine.unused_data if self._engine.eof else b""
            chunk = rest or self._raw.read(1 << 20)
            if not chunk:
                if self._in_frame:
                    raise EOFError("ends in the middle of a zstd frame")
                return 0
            if self._engine.eof:
                self._engine = zstandard.ZstdDecompressor().decompressobj()
            self._buffer = memoryview(self._engine.decompress(chunk))
            self._in_frame = not self._engine.eof
        size = min(len(target), len(self._buffer))
        target[:size], self._buffer = self._buffer[:size], self._buffer[size:]
        return size


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The sha256 of `value` as canonical JSON (sorted keys, no spaces), in hexadecimal."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder`, by its relative path, in sorted order."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): sha256_file(p) for p in files}


REFUSED = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EEXIST),  # a file stands where a folder should be made
}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission below `path` into one clear error; other errors pass
    unchanged.

    Raises:
        RunFailed: the operating system refused to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        free = shutil.disk_usage(_existing(path)).free
        raise RunFailed(
            f"{path}: cannot write ({error.strerror or error}); {free / 1e9:.2f} GB are free. "
            "Free some space or choose another folder with --out, then run the same command again"
        ) from error


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary sibling of `path` for writing.

    When the block ends well it is flushed to disk and renamed to `path`; when it raises, it is
    deleted.

    Raises:
        RunFailed: the operating system refused to write.
    """
    temporary = path.with_name(path.name + PARTIAL)
    with disk_errors(path):
        try:
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to a temporary sibling, flush it to disk, and rename it to `path`."""
    with open_atomic(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`.

    Raises:
        BadInput: the file is missing or not JSON; the message names the line.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid JSON ({error})") from error


def remove(path: Path) -> None:
    """Delete a file or a folder, whichever it is; nothing happens when it is absent."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_folder(partial: Path, final: Path) -> None:
    """Give the finished folder `partial` its final name, moving an older `final` out of the way
    first.
    """
    old = final.with_name(final.name + ".old")
    remove(old)
    if final.exists():
        final.rename(old)
    partial.rename(final)
    remove(old)
