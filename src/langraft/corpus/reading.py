"""The first task: files to shards of normalised text."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from langraft.corpus.account import Account
from langraft.corpus.clean import clean
from langraft.corpus.kernels.lines import long_lines
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.plan import Plan, Unit, finish, finished
from langraft.corpus.readers import Malformed, read_runs
from langraft.corpus.shard import store_texts

PART_BYTES = 16_000_000  # of text in a shard: what a worker holds in memory, several times over
SAMPLES = 2  # texts of each shard that are kept as they came
SAMPLE = 600  # characters of each


class Part(NamedTuple):
    """Some records of a unit: their texts as they came, their files and their lines."""

    texts: Texts
    files: npt.NDArray[np.int32]
    lines: npt.NDArray[np.int64]


def read_unit(plan: Plan, unit: Unit) -> str:
    """Read the files of `unit`, normalise, and write shards of at most `PART_BYTES`.

    Returns:
        JSON: the account, the malformed records, and the shards' names.
    """
    done = finished(plan.work / "read", unit.name)
    if done is not None:
        return done
    account, malformed = Account(), Malformed()
    parts: list[str] = []
    started = time.thread_time()
    for part in _parts(plan, unit, malformed):
        name = f"{unit.name}-{len(parts):05}"
        parts.append(name)
        note = finished(plan.work / "read", name) or _write(plan, name, part)
        account.add(json.loads(note)["steps"])
    spent = time.thread_time() - started
    account.step("read").seconds = spent - account.step("normalise").seconds
    return finish(
        plan.work / "read",
        unit.name,
        {
            "steps": [step.to_json() for step in account.steps.values()],
            "malformed": malformed.count,
            "flaws": malformed.examples,
            "parts": parts,
        },
    )


def _parts(plan: Plan, unit: Unit, malformed: Malformed) -> Iterator[Part]:
    """Cut where `PART_BYTES` are reached, wherever the readers' runs end."""
    held: list[Part] = []
    size = 0
    key = plan.corpus.sources[unit.source].text_key
    for file in unit.files:
        for texts, lines in read_runs(plan.files[unit.source][file], key, malformed):
            ends, start = np.cumsum(texts.sizes), 0
            while start < len(texts):
                read = ends[start - 1] if start else 0
                stop = min(len(texts), int(np.searchsorted(ends, read + PART_BYTES - size)) + 1)
                files = np.full(stop - start, file, np.int32)
                held.append(Part(texts.between(start, stop), files, lines[start:stop]))
                size += int(ends[stop - 1] - read)
                if size >= PART_BYTES:
                    yield _joined(held)
                    held, size = [], 0
                start = stop
    if held:
        yield _joined(held)


def _joined(parts: list[Part]) -> Part:
    texts, files, lines = zip(*parts, strict=True)
    return Part(Texts.joined(texts), np.concatenate(files), np.concatenate(lines))


def _write(plan: Plan, name: str, part: Part) -> str:
    """Normalise and write one shard; returns its account."""
    account = Account()
    raw = part.texts
    read, step = account.step("read"), account.step("normalise")
    read.documents = step.documents = len(raw)
    read.size = read.after = step.size = len(raw.data)
    started = time.thread_time()
    texts = clean(raw, plan.corpus.clean)
    if changed := int((raw.sizes != texts.sizes).sum()):
        step.change("text", many=changed)
    step.after = len(texts.data)
    census = _census(plan, texts)
    step.seconds = time.thread_time() - started
    store_texts(
        plan.work / "read",
        name,
        texts,
        files=part.files,
        lines=part.lines,
        before=np.array(_samples(raw)),
        **census,
    )
    return finish(
        plan.work / "read", name, {"steps": [s.to_json() for s in account.steps.values()]}
    )


def _samples(texts: Texts) -> list[str]:
    """The first texts of a shard as they came, cut."""
    first = (texts.encoded(row)[: 4 * SAMPLE] for row in range(min(SAMPLES, len(texts))))
    return [text.decode(errors="ignore")[:SAMPLE] for text in first]


def _census(plan: Plan, texts: Texts) -> dict[str, npt.NDArray[Any]]:
    """How many documents of the shard have each long line."""
    wanted = plan.corpus.clean.boilerplate
    if wanted is None:
        return {}
    lines = long_lines(texts, wanted.characters)
    order = np.lexsort((lines.texts, lines.hashes))
    hashes, owners = lines.hashes[order], lines.texts[order]
    new = np.ones(len(order), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    found, counts = np.unique(hashes[new], return_counts=True)
    return {"census": found, "census_counts": counts}
