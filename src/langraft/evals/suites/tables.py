"""Rows and records of the published files, each with its place for messages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from langraft.core.errors import BadInput

Record = tuple[str, dict[str, Any]]


def text_of(name: str, content: bytes) -> str:
    """The file's text.

    Raises:
        BadInput: it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: not UTF-8 text (byte {error.start})") from error


def csv_rows(name: str, content: bytes) -> Iterator[tuple[str, list[str]]]:
    """(place, cells) of every row that is not empty; a place is `file:line`.

    Raises:
        BadInput: the file is not UTF-8 or not csv.
    """
    reader = csv.reader(io.StringIO(text_of(name, content), newline=""))
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield f"{name}:{reader.line_num}", row
    except csv.Error as error:
        raise BadInput(f"{name}:{reader.line_num}: not a csv row ({error})") from error


def records(name: str, content: bytes) -> Iterator[Record]:
    """(place, record) of a `.jsonl`, `.json` (a list of objects, or objects under one key) or
    `.parquet` file.

    Raises:
        BadInput: the file is damaged, or a record is no object.
    """
    if name.endswith(".parquet"):
        yield from _parquet(name, content)
    elif name.endswith(".jsonl"):
        yield from json_lines(name, content)
    else:
        tree = json_of(name, content)
        for number, record in enumerate(tree if isinstance(tree, list) else [tree]):
            yield f"{name}[{number}]", record


def json_lines(name: str, content: bytes) -> Iterator[Record]:
    """(place, record) of every line that is not empty, whatever the file's name ends in.

    Raises:
        BadInput: a line is no object.
    """
    for number, line in enumerate(text_of(name, content).split("\n"), 1):
        if line.strip():
            yield f"{name}:{number}", _object(f"{name}:{number}", line)


def json_of(name: str, content: bytes) -> Any:
    """The JSON value of a file.

    Raises:
        BadInput: it is not JSON.
    """
    try:
        return json.loads(text_of(name, content))
    except json.JSONDecodeError as error:
        raise BadInput(f"{name}:{error.lineno}: not valid JSON ({error.msg})") from error


def field(place: str, record: Mapping[str, Any], *keys: str) -> Any:
    """The first of `keys` that the record has.

    Raises:
        BadInput: it has none; the message names the place and what is there.
    """
    for key in keys:
        if key in record:
            return record[key]
    raise BadInput(f"{place}: no field {keys[0]!r}; it has {', '.join(map(str, record)) or 'none'}")


def _object(place: str, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: not valid JSON ({error.msg})") from error
    if not isinstance(found, dict):
        raise BadInput(f"{place}: an object was expected, not {type(found).__name__}")
    return found


def _parquet(name: str, content: bytes) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise BadInput(f"{name}: not a readable parquet file ({error})") from error
    for number, row in enumerate(rows):
        yield f"{name}[{number}]", row
