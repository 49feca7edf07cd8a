"""JSON lines by the block: plain ones are copied out, arrow parses the others, unless something
about them needs a closer look.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.json

from langraft.corpus.kernels.texts import Texts
from langraft.corpus.readers.lines import LONGEST, Block
from langraft.corpus.readers.records import Run

LEAST = 1 << 20  # bytes: for fewer, loading the kernels takes longer than they save
LINE_END, RETURN, OPENING, CLOSING = b"\n\r{}"


def objects(block: Block, text_key: str) -> Run | None:
    """The texts of a block of which every line is an object with a string under `text_key`.

    Returns:
        None where that is not so, or nothing here can tell: the block is for `json.loads`, line by
        line, which names what is wrong.
    """
    data = block.data
    if len(data) > LONGEST or not _is_utf8(data):
        return None
    texts = _copied(data, text_key) or _parsed(data, text_key)
    return Run(texts, block.number + 1 + np.arange(len(texts))) if texts else None


def _copied(data: bytes, text_key: str) -> Texts | None:
    """The texts where all lines are plain, and enough of them."""
    if len(data) < LEAST:
        return None
    from langraft.corpus.kernels.flat import flat_texts

    return flat_texts(np.frombuffer(data, np.uint8), text_key)


def _parsed(data: bytes, text_key: str) -> Texts | None:
    """The texts as arrow's parser finds them."""
    many = _lines(data)
    if not many:
        return None
    schema = pa.schema([(text_key, pa.large_string())])
    try:
        table = pa.json.read_json(
            pa.BufferReader(data),
            pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    column = table.column(0).combine_chunks()
    return None if len(column) != many or column.null_count else Texts.of_arrow(column)


def _lines(data: bytes) -> int:
    """How many lines there are if each begins and ends as an object does, else 0.

    An object that goes on in the next line could not: what stands there would be a comma or a
    closing bracket. So if arrow finds as many objects as lines, it found one in each.
    """
    if not data:
        return 0
    found = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(found == LINE_END)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.append(0, ends[:-1] + 1)
    last = found[ends - 1]
    last = np.where(last == RETURN, found[np.maximum(ends - 2, 0)], last)
    well = (found[starts] == OPENING).all() and (last == CLOSING).all()
    return len(ends) if well else 0


def _is_utf8(data: bytes) -> bool:
    """Nobody below looks at the bytes of fields that are passed over."""
    ends = pa.py_buffer(np.array([0, len(data)], np.int64))
    try:
        pa.LargeStringArray.from_buffers(1, ends, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
