"""JSON objects out of files, each with the place where it stands."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from langraft.core.errors import BadInput
from langraft.corpus.readers.lines import LONGEST, chunks, lines
from langraft.corpus.readers.rows import array_values

PACKED = (".gz", ".zst", ".bz2")
FORMATS = (".jsonl", ".json", ".csv", ".parquet")


class Unfit(NamedTuple):
    """A record that cannot be used: the file, the line (or number of the record), and why."""

    path: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.why}"


def data_files(patterns: tuple[str, ...], root: Path) -> list[Path]:
    """The files that `patterns` name, relative to `root`: files, folders (to the bottom), globs.

    Raises:
        BadInput: a pattern names no file of a known format.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = root / pattern
        if path.is_file():
            places = [path]
        elif path.is_dir():
            places = [p for p in sorted(path.rglob("*")) if p.is_file() and _suffix(p) in FORMATS]
        else:
            base = Path(path.anchor) if path.is_absolute() else Path()
            places = sorted(base.glob(str(path.relative_to(base) if path.is_absolute() else path)))
        if not places:
            raise BadInput(f"{pattern}: names no file; langraft reads {' '.join(FORMATS)}")
        found |= dict.fromkeys(places)
    return list(found)


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Unfit]:
    """The objects of a `.json` array, `.jsonl`, `.csv` or `.parquet` file, with line or number.

    Raises:
        BadInput: the file is missing, of another format, or broken as a whole.
    """
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(_suffix(path))
    if reader is None:
        raise BadInput(f"{path}: not a known format; langraft reads {' '.join(FORMATS)}")
    for line, value in reader(path):
        if isinstance(value, dict):
            yield line, value
        elif isinstance(value, Exception):
            yield Unfit(str(path), line, f"not JSON ({value})")
        else:
            yield Unfit(str(path), line, f"a JSON {type(value).__name__}, not an object")


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in PACKED else path).suffix


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    for line in lines(path, strict=False):
        if line.why:
            yield line.number, ValueError(line.why)
        elif line.text.strip():
            try:
                yield line.number, json.loads(line.text)
            except (ValueError, RecursionError) as error:
                yield line.number, error


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    """An array; or lines, which many files of that name hold."""
    start = next((piece.lstrip() for piece in chunks(path) if piece.strip()), "")
    if not start.startswith("["):
        yield from _jsonl(path)
        return
    number = 0
    try:
        for number, value in enumerate(array_values(chunks(path)), 1):
            yield number, value
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON; behind record {number}: {error}") from error


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(LONGEST)
    rows = csv.DictReader(line.text for line in lines(path))
    try:
        for row in rows:
            yield rows.line_num, {key: value for key, value in row.items() if key is not None}
    except csv.Error as error:
        raise BadInput(f"{path}:{rows.line_num}: not CSV ({error})") from error


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a readable parquet file ({error})") from error
