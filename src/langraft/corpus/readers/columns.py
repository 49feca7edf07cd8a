"""Formats of columns: parquet, and arrow as Hugging Face datasets saves it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.readers.records import Flaw, Record, Run, from_value
from langraft.corpus.readers.rows import column

PACKED = (".gz", ".zst", ".bz2")
ROWS = 1024  # held in memory at a time


def parquet(path: Path, text_key: str) -> Iterator[Record | Flaw | Run]:
    """The rows of a parquet file."""
    with open_binary(path) as stream, tempfile.TemporaryFile() as unpacked:
        if path.suffix in PACKED:  # parquet is read from its end, which a stream cannot do
            shutil.copyfileobj(stream, unpacked)
            unpacked.seek(0)
            stream = cast(BinaryIO, unpacked)
        try:
            file = pq.ParquetFile(stream)
            _check(path, file.schema_arrow, text_key)
            batches = file.iter_batches(batch_size=ROWS, columns=[text_key])
            yield from _rows(batches, text_key)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not a readable parquet file ({error})") from error


def arrow(path: Path, text_key: str) -> Iterator[Record | Flaw | Run]:
    """The rows of an arrow file, of the streaming kind (`Dataset.save_to_disk`) or the other."""
    with open_binary(path) as stream:
        try:
            start = stream.read(6)
            if path.suffix in PACKED:
                raise BadInput(f"{path}: unpack it first; arrow files are read in place")
            stream.seek(0)
            if start == b"ARROW1":
                reader = pa.ipc.open_file(stream)
                batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            else:
                reader = pa.ipc.open_stream(stream)
                batches = iter(reader)
            _check(path, reader.schema, text_key)
            yield from _rows((batch.select([text_key]) for batch in batches), text_key)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not a readable arrow file ({error})") from error


def _check(path: Path, schema: Any, text_key: str) -> None:
    column(path, schema.names, text_key)
    kind = schema.field(text_key).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    ):
        raise BadInput(f"{path}: the column {text_key!r} holds {kind}, not strings")


def _rows(batches: Iterator[Any], text_key: str) -> Iterator[Record | Flaw | Run]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            part = batch.column(0).slice(start, ROWS)
            if part.null_count:
                for place, text in enumerate(part.to_pylist(), number + 1):
                    yield from_value(text, text_key, place)
            else:
                part.validate(full=True)  # its UTF-8
                yield Run(Texts.of_arrow(part), number + 1 + np.arange(len(part)))
            number += len(part)
