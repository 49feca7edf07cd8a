"""The second task: a shard of normalised text goes through the steps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.account import Account
from langraft.corpus.kernels.sign import KEY_BYTES, document_keys, signatures
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.plan import Plan, appearing, finish, finished
from langraft.corpus.steps import Batch, apply_steps


def clean_part(plan: Plan, name: str) -> str:
    """Take the shard `name` through the steps and write what is left.

    `NAME.text` holds the texts, `NAME.notes` what the steps noted of each as JSON, `NAME.npz` where
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
    paths = plan.names[source]
    places = [f"{paths[f]}:{n}" for f, n in zip(files.tolist(), lines.tolist(), strict=True)]
    notes: list[dict[str, Any]] = [{"row": row} for row in range(len(texts))]
    batch = Batch(source, texts, places, notes)
    account = Account()
    hits = apply_steps(plan, batch, account)
    rows = np.array([note.pop("row") for note in batch.notes], np.int64)
    samples = [
        {"before": before[row], "after": batch.texts[place][:600], "place": batch.places[place]}
        for place, row in enumerate(rows.tolist())
        if row < len(before)
    ]
    started = time.thread_time()
    columns = _fingerprints(plan, batch.texts)
    account.step("sign").seconds = time.thread_time() - started
    folder = plan.work / "clean"
    noted = Texts.of(json.dumps(note, ensure_ascii=False) if note else "" for note in batch.notes)
    with appearing(folder / f"{name}.notes") as path:
        path.write_bytes(noted.data.data)
    store_texts(
        folder,
        name,
        batch.texts,
        notes=noted.offsets,
        files=files[rows],
        lines=lines[rows],
        scores=np.array([_score(note) for note in batch.notes], np.float64),
        **columns,
    )
    steps = [step.to_json() for step in account.steps.values()]
    result = {"steps": steps, "documents": len(rows), "hits": hits, "samples": samples}
    return finish(folder, name, result)


def _score(note: dict[str, Any]) -> float:
    return float(next(iter(note["score"].values()))) if "score" in note else 0.0


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
    with appearing(folder / f"{name}.npz") as path, path.open("wb") as stream:
        np.savez(stream, offsets=texts.offsets, **columns)  # type: ignore[arg-type]


def load_texts(folder: Path, name: str) -> Texts:
    """The texts of a shard."""
    data = np.fromfile(folder / f"{name}.text", np.uint8)
    with np.load(folder / f"{name}.npz") as stored:
        return Texts(data, stored["offsets"])
