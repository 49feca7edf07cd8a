"""Which planted near duplicates MinHash finds, and which documents it removes that resemble none.

    python benchmarks/corpus_recall.py [--sample DIR] [--megabytes 200] [--json FILE]

The sample is that of `corpus_speed.py`. Similarity is the exact Jaccard index of the sets of five
tokens in a row, counted in Python. A planted pair is found when both end in one cluster. A removed
document is wrongly removed when no document at all has half of its shingles; where the kept one of
its cluster has not, candidates come from 48 bands of 3 rows, which nearly every such pair shares.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from corpus_peers import documents
from corpus_sample import make_sample

from langraft.core.io import write_json
from langraft.corpus.dedup import band_pairs, best_members, clusters, first_copies
from langraft.corpus.kernels.sign import document_keys, signatures
from langraft.corpus.kernels.texts import Texts

BANDS, ROWS, NGRAM, SIMILARITY = 14, 8, 5, 0.7  # the recipe's defaults
RANGES = ((0.95, 1.01), (0.8, 0.95), (0.7, 0.8), (0.5, 0.7))


class Shingles:
    """The sets of shingles of documents, made when they are asked for."""

    def __init__(self, texts: Sequence[str]) -> None:
        from reference_measures import Measured

        self._texts, self._measured = texts, Measured
        self._sets: dict[int, frozenset[int]] = {}

    def __getitem__(self, number: int) -> frozenset[int]:
        if number not in self._sets:
            tokens = [token.lower() for token in self._measured(self._texts[number]).token_list]
            runs = zip(*(tokens[start:] for start in range(NGRAM)), strict=False)
            self._sets[number] = frozenset(map(hash, runs)) or frozenset([hash(tuple(tokens))])
        return self._sets[number]

    def jaccard(self, one: int, two: int) -> float:
        """Shared shingles over all shingles of both."""
        a, b = self[one], self[two]
        return len(a & b) / len(a | b)


def near(texts: Texts, rank: Any) -> tuple[Any, Any]:
    """The cluster of every document, and which of them stay."""
    signed = signatures(texts, BANDS, ROWS, NGRAM)
    pairs = [
        band_pairs(signed.bands[:, band], rank, signed.agreement, SIMILARITY)
        for band in range(BANDS)
    ]
    root = clusters(pairs, len(texts)).root
    return root, best_members(root, texts.sizes.astype(float), rank)


def resembles_any(suspects: Sequence[int], texts: Texts, shingles: Shingles) -> set[int]:
    """Those of `suspects` that have at least half of their shingles in common with a document."""
    found: set[int] = set()
    bands = signatures(texts, 48, 3, NGRAM).bands
    wanted = np.array(suspects, np.int64)
    for band in range(48):
        order = np.argsort(bands[:, band], kind="stable")
        ordered = bands[order, band]
        first = np.searchsorted(ordered, bands[wanted, band], "left")
        last = np.searchsorted(ordered, bands[wanted, band], "right")
        for one, start, end in zip(suspects, first.tolist(), last.tolist(), strict=True):
            others = (int(order[place]) for place in range(start, min(end, start + 200)))
            if one not in found and any(
                shingles.jaccard(one, other) >= 0.5 for other in others if other != one
            ):
                found.add(one)
    return found


def measure(folder: Path, planted: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Recall by similarity, and what was removed wrongly."""
    names, plain = zip(*documents(folder), strict=True)
    texts = Texts.of(plain)
    keys = np.frombuffer(b"".join(document_keys(texts)), ">u8").astype(np.uint64).reshape(-1, 2)
    rank = np.argsort(np.lexsort((keys[:, 1], keys[:, 0]))).astype(np.int64)
    root, stays = near(texts, rank)
    number = {name: place for place, name in enumerate(names)}
    shingles = Shingles(plain)
    recall: dict[str, list[int]] = {f"{low}-{min(high, 1)}": [0, 0] for low, high in RANGES}
    for pair in planted:
        one, two = number[pair["one"]], number[pair["two"]]
        value = shingles.jaccard(one, two)
        for low, high in RANGES:
            if low <= value < high:
                counts = recall[f"{low}-{min(high, 1)}"]
                counts[0] += int(root[one] == root[two])
                counts[1] += 1
    kept_of = dict(zip(root[stays].tolist(), np.flatnonzero(stays).tolist(), strict=True))
    removed = np.flatnonzero(~stays).tolist()
    suspects = [n for n in removed if shingles.jaccard(n, kept_of[int(root[n])]) < 0.5]
    wrong = len(suspects) - len(resembles_any(suspects, texts, shingles))
    return {
        "documents": len(texts),
        "exact_copies": int((~first_copies(keys)).sum()),
        "recall": {name: [*counts] for name, counts in recall.items() if counts[1]},
        "removed": len(removed),
        "unlike_the_kept": len(suspects),
        "unlike_any": wrong,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sample = chosen.sample or Path(folder)
        made = make_sample(sample, chosen.megabytes)
        found = measure(sample, made["planted"])
    for name, (hit, many) in found["recall"].items():
        print(f"Jaccard {name}: {hit:,} of {many:,} planted pairs found ({hit / many:.2%})")
    removed, wrong = found["removed"], found["unlike_any"]
    print(f"{removed:,} of {found['documents']:,} documents removed")
    print(f"  {found['unlike_the_kept']:,} are less than half like the kept one of their cluster")
    print(f"  {wrong:,} ({wrong / max(1, removed):.2%}) are less than half like any document")
    if chosen.json:
        write_json(chosen.json, found)


if __name__ == "__main__":
    main()
