"""Near duplicates among the documents of all shards: one task a band, then the clusters."""

from __future__ import annotations

import json

import numpy as np

from langraft.corpus.collected import Documents, Numbers
from langraft.corpus.dedup import band_pairs
from langraft.corpus.plan import Plan, appearing, finish, finished


def prepare(plan: Plan, documents: Documents) -> Numbers:
    """Write down which documents the bands look at; returns their numbers."""
    chosen = np.flatnonzero(documents.alive)
    with appearing(plan.work / "near" / "chosen.npz") as path, path.open("wb") as stream:
        np.savez(
            stream,
            part=documents.part[chosen],
            row=documents.row[chosen],
            rank=documents.rank[chosen],
            parts=np.array(documents.parts),
        )
    return chosen


def find_band(plan: Plan, task: str) -> str:
    """The verified pairs that one band proposes, into `near/BAND.npy`.

    Documents without any shingle are like no other. Signatures are read only for documents that
    share a key with another, so memory grows with the duplicates, not with the corpus.

    Returns:
        JSON: how many pairs were compared, and the sizes of giant buckets.
    """
    folder = plan.work / "near"
    done = finished(folder, f"band{task}")
    if done is not None:
        return done
    minhash = plan.corpus.dedup.minhash
    assert minhash is not None
    with np.load(folder / "chosen.npz") as stored:
        part, row, rank, parts = (stored[name] for name in ("part", "row", "rank", "parts"))
    bounds = np.searchsorted(part, np.arange(len(parts) + 1))
    bands = np.zeros(len(part), np.uint64)
    candidate = np.zeros(len(part), bool)
    for number, name in enumerate(parts.tolist()):
        within = slice(bounds[number], bounds[number + 1])
        with np.load(plan.work / "clean" / f"{name}.npz") as stored:
            bands[within] = stored[f"band{task}"][row[within]]
            candidate[within] = stored["shingles"][row[within]] > 0
    _, group, many = np.unique(bands, return_inverse=True, return_counts=True)
    chosen = np.flatnonzero(candidate & (many[group] > 1))
    width = minhash.bands * minhash.rows
    agreement = np.empty((len(chosen), width), np.uint16)
    for number, name in enumerate(parts.tolist()):
        within = slice(*np.searchsorted(chosen, (bounds[number], bounds[number + 1])))
        if within.stop > within.start:
            with np.load(plan.work / "clean" / f"{name}.npz") as stored:
                agreement[within] = stored["agreement"][row[chosen[within]]]
    pairs, compared, giant = band_pairs(bands[chosen], rank[chosen], agreement, minhash.similarity)
    with appearing(folder / f"band{task}.npy") as path, path.open("wb") as stream:
        np.save(stream, chosen[pairs])
    return finish(folder, f"band{task}", {"compared": compared, "giant": giant})


def found_pairs(plan: Plan, bands: int) -> list[tuple[Numbers, int, list[int]]]:
    """What all bands found, in their order."""
    folder = plan.work / "near"
    notes = [json.loads(finished(folder, f"band{band}") or "{}") for band in range(bands)]
    return [
        (np.load(folder / f"band{band}.npy"), note["compared"], note["giant"])
        for band, note in enumerate(notes)
    ]
