"""The second task: a shard of normalised text goes through the steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.account import Account
from langraft.corpus.documents import encoded
from langraft.corpus.kernels.sign import KEY_BYTES, document_keys, signatures
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.plan import Plan, appearing, finish, finished, link, mapped
from langraft.corpus.steps import Batch, apply_steps


def clean_part(plan: Plan, name: str) -> str:
    """Take the shard `name` through the steps and write what is left.

    `NAME.text` holds the texts (and, where no step changed any, those of dropped documents too: it
    is the file that was read), `NAME.notes` what the steps noted of each as JSON, `NAME.npz` where
    both lie, keys, places and signatures.

    Returns:
        JSON: the account, how many documents are left, the benchmark hits, and texts before and
        after.
    """
    done = finished(plan.work / "clean", name)
    if done is not None:
        return done
    source = int(name.split("-")[0])
    texts = load_texts(plan.work / "read", name)
    with np.load(plan.work / "read" / f"{name}.npz") as stored:
        files, lines = stored["files"], stored["lines"]
        before = [str(text) for text in stored["before"]]
    batch = Batch(source, texts, plan.names[source], files, lines, np.arange(len(texts)))
    account = Account()
    hits = apply_steps(plan, batch, account)
    samples = [
        {"before": before[row], "after": batch.texts[place][:600], "place": batch.place(place)}
        for place, row in enumerate(batch.rows[: len(before)].tolist())
        if row < len(before)
    ]
    started = time.thread_time()
    columns = _fingerprints(plan, batch.texts)
    account.step("sign").seconds = time.thread_time() - started
    folder = plan.work / "clean"
    columns |= {"files": batch.files, "lines": batch.lines, **_noted(folder, name, batch)}
    if batch.rewritten:
        store_texts(folder, name, batch.texts, rows=np.arange(len(batch.texts)), **columns)
    else:
        link(plan.work / "read" / f"{name}.text", folder / f"{name}.text")
        _store_columns(folder, name, texts, rows=batch.rows, **columns)
    steps = [step.to_json() for step in account.steps.values()]
    result = {"steps": steps, "documents": len(batch.rows), "hits": hits, "samples": samples}
    return finish(folder, name, result)


def _noted(folder: Path, name: str, batch: Batch) -> dict[str, npt.NDArray[Any]]:
    """Write `NAME.notes`; returns where each document's lies, and the scores among them."""
    notes = [batch.notes.get(row) for row in batch.rows.tolist()] if batch.notes else []
    written = [encoded(note) if note else b"" for note in notes]
    scores = np.zeros(len(batch.rows))
    for place, note in enumerate(notes):
        if note and "score" in note:
            (scores[place],) = note["score"].values()
    with appearing(folder / f"{name}.notes") as path:
        path.write_bytes(b"".join(written))
    noted = Texts.of_bytes(written).offsets if notes else np.zeros(len(scores) + 1, np.int64)
    return {"notes": noted, "scores": scores}


def _fingerprints(plan: Plan, texts: Texts) -> dict[str, npt.NDArray[Any]]:
    """The exact keys, and what finding near duplicates needs: one column a band."""
    # big-endian: numbers in the order of the bytes
    joined = np.frombuffer(b"".join(document_keys(texts)), ">u8").astype(np.uint64)
    keys = joined.reshape(-1, KEY_BYTES // 8)
    columns: dict[str, npt.NDArray[Any]] = {"keys": keys}
    wanted = plan.corpus.dedup.minhash
    if wanted is not None:
        signed = signatures(texts, wanted.bands, wanted.rows, wanted.ngram)
        columns["agreement"], columns["shingles"] = signed.agreement, signed.shingles
        for band in range(wanted.bands):
            columns[f"band{band}"] = np.ascontiguousarray(signed.bands[:, band])
    return columns


def store_texts(folder: Path, name: str, texts: Texts, **columns: npt.NDArray[Any]) -> None:
    """Write `NAME.text`, then `NAME.npz` with where each text ends and what is known of each."""
    with appearing(folder / f"{name}.text") as path:
        path.write_bytes(texts.data.data)  # numpy's own tofile does not say why a disk refuses
    _store_columns(folder, name, texts, **columns)


def _store_columns(folder: Path, name: str, texts: Texts, **columns: npt.NDArray[Any]) -> None:
    with appearing(folder / f"{name}.npz") as path, path.open("wb") as stream:
        np.savez(stream, offsets=texts.offsets, **columns)  # type: ignore[arg-type]


def load_texts(folder: Path, name: str) -> Texts:
    """The texts of a shard, in the file's own memory."""
    with np.load(folder / f"{name}.npz") as stored:
        return Texts(mapped(folder / f"{name}.text"), stored["offsets"])
