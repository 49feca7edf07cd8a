"""Lines that many documents of a source share: found over all shards before any is cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from langraft.corpus.account import Account
from langraft.corpus.plan import Plan, appearing

CELLS = 2**24  # of the sketch: 16 MB of counters, however many lines there are


def find_boilerplate(plan: Plan, parts: list[str], accounts: list[Account]) -> None:
    """Write the hashes of each source's boilerplate lines to `read/boilerplate-SOURCE.npy`.

    A sketch (a table of counters that lines share by the low bits of their hash) finds lines that
    may be in enough documents; only these are then counted one by one, so memory does not grow with
    the corpus and the answer is exact.
    """
    wanted = plan.corpus.clean.boilerplate
    assert wanted is not None
    for source, account in enumerate(accounts):
        own = [part for part in parts if int(part.split("-")[0]) == source]
        documents = account.step("read").documents
        least = max(wanted.documents, int(np.ceil(wanted.share * documents)))
        sketch = np.zeros(CELLS, np.uint8)
        for part in own:
            hashes, counts = _census(plan, part)
            cells = (hashes & np.uint64(CELLS - 1)).astype(np.int64)
            added = np.bincount(cells, counts, 0)
            filled = np.flatnonzero(added)
            sketch[filled] = np.minimum(sketch[filled] + added[filled], 255)
        candidates: dict[int, int] = {}
        for part in own:
            hashes, counts = _census(plan, part)
            cells = (hashes & np.uint64(CELLS - 1)).astype(np.int64)
            likely = sketch[cells] >= min(least, 255)
            for value, count in zip(hashes[likely].tolist(), counts[likely].tolist(), strict=True):
                candidates[value] = candidates.get(value, 0) + count
        found = np.array(sorted(h for h, n in candidates.items() if n >= least), np.uint64)
        target = plan.work / "read" / f"boilerplate-{source:03}.npy"
        with appearing(target) as path, path.open("wb") as stream:
            np.save(stream, found)


def _census(plan: Plan, part: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    with np.load(plan.work / "read" / f"{part}.npz") as stored:
        return stored["census"], stored["census_counts"]
