"""The last task: chosen documents in their order, as lines of packed JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

from langraft.corpus.choosing import GRADES
from langraft.corpus.collected import Documents, Numbers, Reader
from langraft.corpus.documents import LEVEL, Document, encoded
from langraft.corpus.kernels.escape import framed
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.leak import HeldOutLines
from langraft.corpus.plan import Plan, appearing, finish, finished
from langraft.corpus.shard import load_texts

FRAME_BYTES = 16_000_000  # of text in one task and one frame of the packed file


class Frame(NamedTuple):
    """A stretch of an output file: its name, and the documents in it."""

    name: str
    numbers: Numbers


def frames(documents: Documents, name: str, ordered: Numbers, bins: Numbers) -> list[Frame]:
    """Cut the ordered documents of one output file where a bin or `FRAME_BYTES` ends."""
    sizes = documents.size[ordered]
    before = np.cumsum(sizes) - sizes
    group = bins[ordered] * (int(before[-1] // FRAME_BYTES) + 1 if len(sizes) else 1)
    group = group + before // FRAME_BYTES
    cuts = np.flatnonzero(np.diff(group)) + 1
    return [
        Frame(f"{name}-{place:05}", numbers)
        for place, numbers in enumerate(np.split(ordered, cuts))
        if len(numbers)
    ]


def store_frames(plan: Plan, found: list[Frame], documents: Documents, bins: Numbers) -> None:
    """Write down what each task needs to know of its documents."""
    for frame in found:
        columns = {
            f"column_{field.name}": getattr(documents, field.name)[frame.numbers]
            for field in dataclasses.fields(documents)
            if field.name not in ("parts", "keys")
        }
        with appearing(plan.work / "write" / f"{frame.name}.npz") as path, path.open("wb") as out:
            np.savez(
                out,
                parts=np.array(documents.parts),
                keys=documents.keys[frame.numbers],
                bins=bins[frame.numbers],
                **columns,
            )


def write_frame(plan: Plan, name: str) -> str:
    """Write the documents of one frame, packed, to `write/NAME.zst`; returns their count."""
    folder = plan.work / "write"
    done = finished(folder, name)
    if done is not None:
        return done
    with np.load(folder / f"{name}.npz") as stored:
        bins, keys, parts = stored["bins"], stored["keys"], stored["parts"].tolist()
        columns = {
            name.removeprefix("column_"): stored[name]
            for name in stored.files
            if name.startswith("column_")
        }
    documents = Documents(parts=parts, keys=keys, **columns)
    (source,) = {plan.corpus.sources[number] for number in np.unique(documents.source).tolist()}
    like = Document(f"{source.name}-", "", source.name, source.language, source.bucket)
    reader = Reader(plan, documents)
    metas = _metas(plan, documents, reader.notes(), bins)
    lines = lines_of(reader.texts(), documents.hex_keys(), like, metas)
    with appearing(folder / f"{name}.zst") as path:
        path.write_bytes(zstandard.ZstdCompressor(LEVEL, write_checksum=True).compress(lines.data))
    return finish(folder, name, {"documents": len(documents)})


def lines_of(
    texts: Texts, ids: Sequence[bytes], like: Document, metas: Sequence[bytes]
) -> npt.NDArray[np.uint8]:
    """What `Document.to_line` gives for each of many texts of one source, joined: no text becomes a
    Python object.

    Args:
        texts: the texts.
        ids: of every text, what follows `like.id`; must need no escape in JSON.
        like: a document with the start of all ids, an empty text, and the source's other fields.
        metas: of every text, as JSON.
    """
    before, rest = like.to_line().split(b'","text":""', 1)
    between = b'"' + rest.removesuffix(b"{}}\n")
    return framed(
        texts,
        Texts.of_bytes([b'%b%b","text":"' % (before, name) for name in ids]),
        Texts.of_bytes([b"%b%b}\n" % (between, meta) for meta in metas]),
    )


def _metas(plan: Plan, documents: Documents, notes: Texts, bins: Numbers) -> list[bytes]:
    """Where each document comes from, what the steps noted of it, and what was decided, as JSON.

    Written piece by piece: most documents have nothing but a place, and `json` takes longer over
    them than zstd over their texts.
    """
    inside: list[bytes] = [b""] * len(documents)
    for row in np.flatnonzero(notes.sizes).tolist():
        inside[row] = b"," + notes.encoded(row)[1:-1]
    every = np.ones(len(documents), bool)
    for key, column, shown in (
        ("cluster", documents.cluster, documents.cluster > 1),
        ("grade", documents.grade, documents.grade > 0),
        ("weight", documents.weight, every & plan.corpus.dedup.rehydrate),
        ("bin", bins, (bins >= 0) & (plan.corpus.buckets.count > 1)),
    ):
        for row in np.flatnonzero(shown).tolist():
            value = int(column[row])
            member = {key: GRADES[value] if key == "grade" else value}
            inside[row] += b"," + encoded(member)[1:-1]
    names = [[encoded(name)[:-1] for name in files] for files in plan.names]
    places = zip(
        *(c.tolist() for c in (documents.source, documents.file, documents.line)), strict=True
    )
    return [
        b'{"place":%b:%d"%b}' % (names[source][file], line, more)
        for (source, file, line), more in zip(places, inside, strict=True)
    ]


def guard_part(plan: Plan, name: str) -> str:
    """How much each document of a shard shares with a held-out one, into `guard/NAME.npy`."""
    folder = plan.work / "guard"
    done = finished(folder, name)
    if done is not None:
        return done
    with np.load(folder / "held.npz") as stored:
        held = HeldOutLines(Texts(stored["data"], stored["offsets"]))
    with np.load(plan.work / "clean" / f"{name}.npz") as stored:
        rows = stored["rows"]
    shares = held.largest_shares(load_texts(plan.work / "clean", name))[rows]
    with appearing(folder / f"{name}.npy") as path, path.open("wb") as stream:
        np.save(stream, shares)
    return finish(folder, name, {"documents": len(shares)})


def join(folder: Path, found: list[Frame], out: Any) -> int:
    """Append the packed frames to the open file `out`; returns the documents in them."""
    documents = 0
    for frame in found:
        documents += len(frame.numbers)
        with (folder / f"{frame.name}.zst").open("rb") as packed:
            while block := packed.read(1 << 20):
                out.write(block)
    return documents
