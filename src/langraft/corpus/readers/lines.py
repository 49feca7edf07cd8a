"""The lines of a text file in whatever encoding it has, with a bound on their length."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.corpus.readers.encoding import MARKS, UTF8, encoding_of

BYTE_ORDER_MARK = "\ufeff"
LONGEST = 1 << 26  # bytes (in UTF-8) or characters: a longer line is no document but an accident
CHUNK = 1 << 20  # bytes
BLOCK = 1 << 22  # bytes
CONVERT = "if the file has another encoding, convert it first: iconv -f GB18030 -t UTF-8 OLD > NEW"
TOO_LONG = f"the line is longer than {LONGEST >> 20} MiB"


class Line(NamedTuple):
    """A line with its end; or, where it cannot be used, why."""

    number: int
    text: str
    why: str = ""


class Block(NamedTuple):
    """Whole lines as bytes, and how many lines and bytes of the file stand before them."""

    number: int
    offset: int
    data: bytes


def lines(path: Path, strict: bool = True) -> Iterator[Line]:
    """The numbered lines of a file, plain or packed, line ends kept, byte order mark removed.

    Args:
        path: the file.
        strict: a line that is not in the file's encoding is an error; else it is given with `why`.
            So is one that is longer than `LONGEST`, of which nothing is kept in memory.

    Raises:
        BadInput: the file cannot be opened or unpacked; a line cannot be used and `strict` is set.
    """
    encoding = encoding_of(path)
    with open_binary(path) as stream:
        found = _utf8(stream) if encoding == UTF8 else _other(stream, encoding)
        for line in found:
            if line.why and strict:
                raise BadInput(f"{path}:{line.number}: {line.why}")
            yield line


def chunks(path: Path) -> Iterator[str]:
    """A file's text in pieces of about `CHUNK` bytes, byte order mark removed.

    Raises:
        BadInput: the file cannot be opened or unpacked, or a byte is not in its encoding.
    """
    encoding = encoding_of(path)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset, line = 0, 1
    with open_binary(path) as stream:
        while True:
            raw = stream.read(CHUNK)
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                wrong = error.object[error.start]
                at = offset + len(raw) - len(error.object) + error.start
                line += error.object[: error.start].decode(encoding).count("\n")
                name = encoding.upper()
                raise BadInput(
                    f"{path}:{line}: byte {at} ({wrong:#04x}) is not {name}; {CONVERT}"
                ) from error
            yield text if offset else text.removeprefix(BYTE_ORDER_MARK)
            offset += len(raw)
            line += text.count("\n")
            if not raw:
                return


def blocks(stream: BinaryIO) -> Iterator[Block | Line]:
    """The lines of a UTF-8 stream, many at a time; of one that is too long, only the complaint."""
    number = offset = 0
    while head := stream.read(BLOCK):
        whole = head.rfind(b"\n") + 1
        begun = len(head) - whole
        tail = stream.readline(LONGEST - begun) if begun else b""
        long = begun + len(tail) == LONGEST and not tail.endswith(b"\n")
        block = Block(number, offset, head[:whole] if long else head + tail)
        yield block
        number += block.data.count(b"\n")
        offset += len(block.data)
        if long:
            number += 1
            yield Line(number, "", TOO_LONG)
            offset += LONGEST + _skip(stream)


def single(block: Block) -> Iterator[Line]:
    """The lines of a block one at a time."""
    return _utf8(io.BytesIO(block.data), block.number, block.offset)


def _utf8(stream: BinaryIO, number: int = 0, offset: int = 0) -> Iterator[Line]:
    while raw := stream.readline(LONGEST):
        number += 1
        if len(raw) == LONGEST and not raw.endswith(b"\n"):
            yield Line(number, "", TOO_LONG)
            offset += len(raw) + _skip(stream)
            continue
        mark = MARKS[0][0] if number == 1 else b""
        body = raw.removeprefix(mark)
        try:
            yield Line(number, body.decode())
        except UnicodeDecodeError as error:
            at = offset + len(raw) - len(body) + error.start
            yield Line(
                number,
                "",
                f"byte {at} ({body[error.start]:#04x}) is not UTF-8; {CONVERT}",
            )
        offset += len(raw)


def _skip(stream: BinaryIO) -> int:
    """Pass over the rest of a line; its bytes."""
    skipped = 0
    while raw := stream.readline(1 << 20):
        skipped += len(raw)
        if raw.endswith(b"\n"):
            break
    return skipped


def _other(stream: BinaryIO, encoding: str) -> Iterator[Line]:
    """Lines of an encoding whose lines cannot be told apart by bytes; a wrong byte spoils its line
    and shows as U+FFFD, which is how it is found.
    """
    text = io.TextIOWrapper(cast(io.BufferedReader, stream), encoding, "replace", newline="\n")
    number = 0
    try:
        while line := text.readline(LONGEST):
            number += 1
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if len(line) == LONGEST and not line.endswith("\n"):
                while (rest := text.readline(1 << 20)) and not rest.endswith("\n"):
                    pass
                yield Line(number, "", TOO_LONG)
            elif "\ufffd" in line:
                at = line.index("\ufffd")
                yield Line(number, "", f"character {at} is not {encoding}, which the file is in")
            else:
                yield Line(number, line)
    finally:
        text.detach()  # the stream is closed by whoever opened it
