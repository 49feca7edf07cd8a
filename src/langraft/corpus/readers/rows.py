"""Formats of lines: txt, jsonl, json and csv."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.corpus.readers.encoding import UTF8, encoding_of
from langraft.corpus.readers.lines import (
    CHUNK,
    LONGEST,
    TOO_LONG,
    Line,
    blocks,
    chunks,
    lines,
    single,
)
from langraft.corpus.readers.objects import objects
from langraft.corpus.readers.records import Flaw, Record, Run, from_object

_AFTER = {"", ",", "]", " ", "\t", "\r", "\n"}
_SPACE = re.compile(r"[ \t\r\n]*")
PART = 1 << 24  # characters: a longer .txt is given in parts that end at line ends
SOME_DIGITS = 18


def txt(path: Path, _: str) -> Iterator[Record | Flaw]:
    """The whole file as one text; a file over `PART` characters as several."""
    part, start = "", 1
    for chunk in chunks(path):
        part += chunk
        if len(part) > PART:
            end = part.rfind("\n") + 1
            if end:
                yield Record(part[:end], start)
                start += part.count("\n", 0, end)
                part = part[end:]
            elif len(part) > LONGEST:
                raise BadInput(f"{path}:{start}: {TOO_LONG}")
    if part.strip():
        yield Record(part, start)


def jsonl(path: Path, text_key: str) -> Iterator[Record | Flaw | Run]:
    """One object a line."""
    if encoding_of(path) != UTF8:
        yield from _json_lines(lines(path, strict=False), text_key)
        return
    with open_binary(path) as stream:
        for block in blocks(stream):
            if isinstance(block, Line):
                yield Flaw(block.number, block.why)
            elif (run := objects(block, text_key)) is not None:
                yield run
            else:
                yield from _json_lines(single(block), text_key)


def _json_lines(found: Iterable[Line], text_key: str) -> Iterator[Record | Flaw]:
    for line in found:
        if line.why:
            yield Flaw(line.number, line.why)
        elif not line.text.isspace():
            try:
                value = json.loads(line.text, parse_int=_integer)
            except (ValueError, RecursionError) as error:
                yield Flaw(line.number, f"not JSON ({error})")
            else:
                yield from_object(value, text_key, line.number)


def _integer(digits: str) -> int:
    """Python refuses integers of over 4,300 digits; only the type of a number is looked at."""
    return int(digits[:SOME_DIGITS])


def json_file(path: Path, text_key: str) -> Iterator[Record | Flaw | Run]:
    """An array of objects, one object, or (many `.json` files are) JSON lines, told apart by the
    first line.
    """
    start = _start(path)
    if not start:
        return
    if start.startswith("["):
        yield from _array(path, text_key)
    elif _is_object(start.split("\n", 1)[0]):
        yield from jsonl(path, text_key)
    else:
        try:
            value = json.loads("".join(chunks(path)))
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}: not JSON, and not JSON lines ({error})") from error
        yield from_object(value, text_key, 1)


def _start(path: Path) -> str:
    """The file's first line that is not blank, or the start of it."""
    pieces = chunks(path)
    start = next(filter(None, (piece.lstrip() for piece in pieces)), "")
    while "\n" not in start and not start.startswith("[") and (more := next(pieces, "")):
        start += more
        if len(start) > LONGEST:
            break
    return start


def _array(path: Path, text_key: str) -> Iterator[Record | Flaw]:
    """The objects of an array one at a time: no more than one of them is held in memory."""
    number = 0
    try:
        for value in array_values(chunks(path)):
            number += 1
            yield from_object(value, text_key, number)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path}: not JSON, and not JSON lines; behind record {number}: {error}"
        ) from error


def array_values(pieces: Iterator[str]) -> Iterator[Any]:
    """The values of one JSON array whose text comes in pieces.

    Raises:
        ValueError: the text is not one array.
    """
    decoder = json.JSONDecoder()
    buffer, at = "", 0
    wanted = "["  # what must come next: the opening, a value or the end, a value, or a comma
    while True:
        at = _SPACE.match(buffer, at).end()  # type: ignore[union-attr]
        character = buffer[at : at + 1]
        if character and wanted == "[":
            if character != "[":
                raise ValueError("it does not start with [")
            at, wanted = at + 1, "first"
            continue
        if character == "]" and wanted in ("first", ","):
            rest = (buffer[at + 1 :] + "".join(pieces)).strip()
            if rest:
                raise ValueError(f"{rest[:20]!r} stands behind the array")
            return
        if character == "," and wanted == ",":
            at, wanted = at + 1, "value"
            continue
        if character and wanted == ",":
            raise ValueError(f"{buffer[at : at + 20]!r} where a comma or ] should be")
        try:
            value, end = decoder.raw_decode(buffer, at)
            if buffer[end : end + 1] not in _AFTER:
                raise ValueError(f"{buffer[end]!r} behind a value")
            if end == len(buffer):  # a number may go on in the next piece
                raise ValueError("the array never ends")
        except (ValueError, IndexError) as error:
            more = "".join(itertools.islice(pieces, 1 + (len(buffer) - at) // CHUNK))
            if not more:
                raise ValueError(str(error) if character else "the array never ends") from error
            buffer, at = buffer[at:] + more, 0
            continue
        yield value
        at, wanted = end, ","


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line, parse_int=_integer), dict)
    except (ValueError, RecursionError):
        return False


def csv_file(path: Path, text_key: str) -> Iterator[Record | Flaw]:
    """Comma-separated values with a header; a quoted field may hold line ends."""
    csv.field_size_limit(LONGEST)  # the default refuses a field over 128 KiB
    rows = csv.reader((line.text for line in lines(path)), strict=True)
    header: list[str] = []
    place = 0
    while True:
        start = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise BadInput(
                    f"{path}:{start}: a quote that opens in this record is never closed"
                ) from error
            yield Flaw(start, f"not CSV ({error})")
            continue
        if not row:
            continue
        if not header:
            header = row
            place = column(path, header, text_key)
        elif len(row) != len(header):
            yield Flaw(start, f"{len(row)} fields, the header has {len(header)}")
        else:
            yield Record(row[place], start)


def column(path: Path, columns: Sequence[str], text_key: str) -> int:
    """Where the column `text_key` stands.

    Raises:
        BadInput: not exactly one column has the name.
    """
    if columns.count(text_key) != 1:
        many = "more than one" if text_key in columns else "no"
        raise BadInput(
            f"{path}: {many} column {text_key!r}; it has {', '.join(map(repr, columns))}. "
            "Set the source's text_key"
        )
    return columns.index(text_key)
