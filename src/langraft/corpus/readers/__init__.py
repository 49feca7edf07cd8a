"""Text out of files: txt, jsonl, json, csv, parquet, arrow and Wikipedia dumps, plain or packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from langraft.core.errors import BadInput
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.readers import columns, paths, rows, wikipedia
from langraft.corpus.readers.columns import PACKED
from langraft.corpus.readers.records import EXAMPLES, Flaw, Malformed, Record, Run

__all__ = ["EXAMPLES", "Flaw", "Malformed", "Record", "Run", "expand", "read_runs", "read_texts"]

GIVE_UP = 100  # records: a file that starts with so many malformed ones has another text_key

_PARSERS: Mapping[str, Callable[[Path, str], Iterator[Record | Flaw | Run]]] = {
    ".txt": rows.txt,
    ".jsonl": rows.jsonl,
    ".json": rows.json_file,
    ".csv": rows.csv_file,
    ".parquet": columns.parquet,
    ".arrow": columns.arrow,
    ".xml": wikipedia.pages,
}


def expand(patterns: Sequence[str], root: Path) -> list[Path]:
    """The files that `patterns` name: files, folders (searched to the bottom) and globs, relative
    to `root` or absolute.

    Files of other formats and names that start with a dot are passed over unless named in full. In
    a folder that Hugging Face datasets wrote, only its data files count.

    Returns:
        Each file once, sorted by its path.

    Raises:
        BadInput: a path matches no readable file, or a folder may not be read; the message names
            it.
    """
    return paths.expand(patterns, root, lambda path: _format(path) is not None, _formats())


def _format(path: Path) -> str | None:
    name = path.with_suffix("") if path.suffix in PACKED else path
    return name.suffix if name.suffix in _PARSERS else None


def _formats() -> str:
    return f"{' '.join(_PARSERS)}, plain or with {', '.join(PACKED[:-1])} or {PACKED[-1]}"


def read_texts(
    path: Path, text_key: str = "text", malformed: Malformed | None = None
) -> Iterator[Record]:
    """The texts of one file, one at a time; arguments and errors are those of `read_runs`."""
    for texts, places in read_runs(path, text_key, malformed):
        yield from map(Record, texts, places.tolist())


def read_runs(
    path: Path, text_key: str = "text", malformed: Malformed | None = None
) -> Iterator[Run]:
    """The texts of one file, some at a time, in its order.

    Text is UTF-8, or UTF-16, GB18030 or Big5 where the file's start says so.

    Args:
        path: a file that `expand` would return.
        text_key: the key or column that holds the text; `.txt` and `.xml` have none.
        malformed: collects the records that were skipped; without it, they are reported as a
            warning at the end.

    Raises:
        BadInput: the file is missing, truncated, empty, in no known encoding (line and byte offset
            are named), has no `text_key` (the keys it has are named), or none of its first hundred
            records can be used.
    """
    parse = _PARSERS.get(_format(path) or "")
    if parse is None:
        raise BadInput(f"{path}: not a known format; langraft reads {_formats()}")
    flaws = Malformed() if malformed is None else malformed
    first: Flaw | None = None
    usable = unusable = 0
    for found in map(_encoded, parse(path, text_key)):
        if isinstance(found, Run):
            usable += len(found.texts)
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


def _encoded(found: Record | Flaw | Run) -> Flaw | Run:
    """JSON can spell half of a UTF-16 pair (`\\ud800`): a str that no file can hold."""
    if not isinstance(found, Record):
        return found
    try:
        encoded = found.text.encode()
    except UnicodeEncodeError as error:
        return Flaw(found.line, f"character {error.start} of the text is a lone surrogate")
    return Run(Texts.of_bytes([encoded]), np.array([found.line]))
