"""Text out of files: txt, jsonl, json, csv and parquet, plain or packed with gzip or zstd."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.core.messages import warn

PACKED = (".gz", ".zst")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
EXAMPLES = 10
GIVE_UP = 100  # records: a file that starts with so many malformed ones has another text_key


class Record(NamedTuple):
    """One text of a file.

    `line` is the line where it starts, from 1; in a `.json` array and in parquet it is the number
    of the record.
    """

    text: str
    line: int


class Flaw(NamedTuple):
    """A record that cannot be used: where, as in `Record`, and why."""

    line: int
    why: str


@dataclasses.dataclass
class Malformed:
    """How many records could not be used, and the first of them as `file:line: why`."""

    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    def add(self, path: Path, flaw: Flaw) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{path}:{flaw.line}: {flaw.why}")

    def warn(self, name: str) -> None:
        """Tell the person at the terminal, if there is anything to tell."""
        if self.count:
            warn(f"{name}: {self.count:,} malformed records skipped; the first: {self.examples[0]}")


def expand(paths: Sequence[str], root: Path) -> list[Path]:
    """The files that `paths` name: files, folders (searched to the bottom) and globs, relative to
    `root` or absolute.

    Files of other formats and names that start with a dot are passed over unless named in full.

    Returns:
        Each file once, sorted by its path.

    Raises:
        BadInput: a path matches no readable file; the message names it.
    """
    found = [file for path in paths for file in _expand_one(path, root)]
    return sorted({file.resolve(): file for file in reversed(found)}.values())


def _expand_one(pattern: str, root: Path) -> list[Path]:
    named = root / pattern
    if named.is_file():
        if _format(named) is None:
            raise BadInput(f"{pattern}: not a known format; langraft reads {_formats()}")
        return [named]
    found = [file for place in _places(pattern, root) for file in _files(place)]
    readable = [file for file in found if _format(file)]
    if not readable:
        there = (
            f"matches {len(found)} files, none of a known format" if found else "matches no file"
        )
        raise BadInput(f"{pattern}: {there} in {root.resolve()}; langraft reads {_formats()}")
    return readable


def _places(pattern: str, root: Path) -> Iterable[Path]:
    if (root / pattern).is_dir():
        return [root / pattern]
    anchor = Path(pattern).anchor
    try:
        return Path(anchor or root).glob(pattern[len(anchor) :])
    except (ValueError, NotImplementedError) as error:
        raise BadInput(f"{pattern!r}: not a usable path or glob ({error})") from error


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        inside = (file.relative_to(place) for file in place.rglob("*") if file.is_file())
        yield from (
            place / file for file in inside if not any(part.startswith(".") for part in file.parts)
        )


def _format(path: Path) -> str | None:
    name = path.with_suffix("") if path.suffix in PACKED else path
    return name.suffix if name.suffix in _PARSERS else None


def _formats() -> str:
    return f"{' '.join(_PARSERS)}, plain or with {' or '.join(PACKED)}"


def read_texts(
    path: Path, text_key: str = "text", malformed: Malformed | None = None
) -> Iterator[Record]:
    """The texts of one file, one at a time.

    Args:
        path: a file that `expand` would return.
        text_key: the key or column that holds the text; `.txt` has none, the whole file is one
            text.
        malformed: collects the records that were skipped; without it, they are reported as a
            warning at the end.

    Raises:
        BadInput: the file is missing, truncated, empty, not UTF-8 (line and byte offset are named),
            has no `text_key` (the keys it has are named), or none of its first hundred records can
            be used.
    """
    parse = _PARSERS.get(_format(path) or "")
    if parse is None:
        raise BadInput(f"{path}: not a known format; langraft reads {_formats()}")
    flaws = Malformed() if malformed is None else malformed
    first: Flaw | None = None
    usable = unusable = 0
    for found in map(_encodable, parse(path, text_key)):
        if isinstance(found, Record):
            usable += 1
            yield found
        else:
            unusable += 1
            first = first or found
            flaws.add(path, found)
        if not usable and unusable == GIVE_UP:
            break
    if not usable:
        raise BadInput(_unusable(path, unusable, first))
    if malformed is None:
        flaws.warn(str(path))


def _unusable(path: Path, unusable: int, first: Flaw | None) -> str:
    if first is None:
        return f"{path}: is empty; remove it from the source or fetch it again"
    return (
        f"{path}:{first.line}: {first.why}; none of the first {unusable} records can be used. "
        "Is text_key right?"
    )


def _encodable(found: Record | Flaw) -> Record | Flaw:
    """JSON can spell half of a UTF-16 pair (`\\ud800`): a str that no file can hold."""
    if isinstance(found, Record):
        try:
            found.text.encode()
        except UnicodeEncodeError as error:
            return Flaw(found.line, f"character {error.start} of the text is a lone surrogate")
    return found


def _lines(path: Path, stream: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """The numbered lines of a UTF-8 stream, line ends kept, byte order mark removed."""
    offset = 0
    for number, raw in enumerate(stream, 1):
        body = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
        try:
            line = body.decode()
        except UnicodeDecodeError as error:
            at = offset + len(raw) - len(body) + error.start
            raise BadInput(
                f"{path}:{number}: byte {at} ({body[error.start]:#04x}) is not UTF-8; if the file "
                "has another encoding, convert it first: iconv -f GB18030 -t UTF-8 OLD > NEW"
            ) from error
        yield number, line
        offset += len(raw)


def _txt(path: Path, _: str) -> Iterator[Record | Flaw]:
    with open_binary(path) as stream:
        text = "".join(line for _, line in _lines(path, stream))
    if text.strip():
        yield Record(text, 1)


def _jsonl(path: Path, text_key: str) -> Iterator[Record | Flaw]:
    with open_binary(path) as stream:
        yield from _json_lines(_lines(path, stream), text_key)


def _json_lines(lines: Iterable[tuple[int, str]], text_key: str) -> Iterator[Record | Flaw]:
    for number, line in lines:
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Flaw(number, f"not JSON ({error})")
        else:
            yield _from_object(value, text_key, number)


def _from_object(value: Any, text_key: str, line: int) -> Record | Flaw:
    if not isinstance(value, dict):
        return Flaw(line, f"a JSON {type(value).__name__}, not an object")
    if text_key not in value:
        return Flaw(line, f"no key {text_key!r}; it has {', '.join(map(repr, value)) or 'none'}")
    return _from_value(value[text_key], text_key, line)


def _from_value(text: Any, text_key: str, line: int) -> Record | Flaw:
    if not isinstance(text, str):
        return Flaw(line, f"{text_key!r} is a {type(text).__name__}, not a string")
    return Record(text, line)


def _json(path: Path, text_key: str) -> Iterator[Record | Flaw]:
    """An array of objects, one object, or (many `.json` files are) JSON lines, told apart by the
    first line.
    """
    with open_binary(path) as stream:
        lines = _lines(path, stream)
        first = next(((number, line) for number, line in lines if not line.isspace()), None)
        if first is None:
            return
        if _is_object(first[1]):
            yield from _json_lines(itertools.chain([first], lines), text_key)
            return
        whole = first[1] + "".join(line for _, line in lines)
    try:
        value = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON, and not JSON lines ({error})") from error
    records = value if isinstance(value, list) else [value]
    for number, record in enumerate(records, 1):
        yield _from_object(record, text_key, number)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _csv(path: Path, text_key: str) -> Iterator[Record | Flaw]:
    csv.field_size_limit(2**31 - 1)  # the default refuses a field over 128 KiB
    with open_binary(path) as stream:
        rows = csv.reader((line for _, line in _lines(path, stream)), strict=True)
        header: list[str] = []
        column = 0
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
                column = _column(path, header, text_key)
            elif len(row) != len(header):
                yield Flaw(start, f"{len(row)} fields, the header has {len(header)}")
            else:
                yield Record(row[column], start)


def _column(path: Path, columns: Sequence[str], text_key: str) -> int:
    if columns.count(text_key) != 1:
        many = "more than one" if text_key in columns else "no"
        raise BadInput(
            f"{path}: {many} column {text_key!r}; it has {', '.join(map(repr, columns))}. "
            "Set the source's text_key"
        )
    return columns.index(text_key)


def _parquet(path: Path, text_key: str) -> Iterator[Record | Flaw]:
    with open_binary(path) as stream, tempfile.TemporaryFile() as unpacked:
        if path.suffix in PACKED:  # parquet is read from its end, which a stream cannot do
            shutil.copyfileobj(stream, unpacked)
            unpacked.seek(0)
        try:
            yield from _parquet_rows(
                path, cast(BinaryIO, unpacked) if path.suffix in PACKED else stream, text_key
            )
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not a readable parquet file ({error})") from error


def _parquet_rows(path: Path, stream: BinaryIO, text_key: str) -> Iterator[Record | Flaw]:
    file = pq.ParquetFile(stream)
    _column(path, file.schema_arrow.names, text_key)
    kind = file.schema_arrow.field(text_key).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    ):
        raise BadInput(f"{path}: the column {text_key!r} holds {kind}, not strings")
    number = 0
    for batch in file.iter_batches(batch_size=1024, columns=[text_key]):
        for text in batch.column(0).to_pylist():
            number += 1
            yield _from_value(text, text_key, number)


_PARSERS: Mapping[str, Callable[[Path, str], Iterator[Record | Flaw]]] = {
    ".txt": _txt,
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
