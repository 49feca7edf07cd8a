"""What the corpus engine is compared with, each doing the same job on the same files.

    python benchmarks/corpus_peers.py JOB PEER IN OUT

Run by `corpus_speed.py` in the Python that has the peers (`make bench-setup`). `IN` holds jsonl
files of `{"id", "text"}`; `OUT` becomes a folder of whatever the peer writes. Signatures have 14
bands of 8 rows over 5-grams of characters everywhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "unit" / "corpus")]

BANDS, ROWS, NGRAM = 14, 8, 5


def documents(folder: Path) -> Iterator[tuple[str, str]]:
    """Id and text of every document."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                record = json.loads(line)
                yield record["id"], record["text"]


def kept_by_python_rules(text: str) -> tuple[str, bool]:
    """The rules of the table zh in plain Python on normalised text: the tests' reference."""
    from reference_measures import Measured

    from langraft.corpus.clean import FULL_WIDTH, KEPT, normalise
    from langraft.corpus.rules import RULES, TABLES

    text = normalise(text, KEPT + FULL_WIDTH, False)
    measured = Measured(text, TABLES["zh"].scripts)
    for key, limit, _ in TABLES["zh"].rows:
        place = RULES[key]
        if isinstance(place, str):
            value = getattr(measured, place)()
        else:
            value = getattr(measured, f"{place[0]}_ngram_share")(place[1])
        if value < limit if key.startswith("min_") else value > limit:
            return text, False
    return text, True


def rules_daft(source: Path, out: Path) -> None:
    """Daft's native runner with the Python rules in a batch function."""
    import daft
    import pyarrow as pa

    @daft.func.batch(return_dtype=daft.DataType.string())
    def cleaned(texts: daft.Series) -> Any:
        found = (kept_by_python_rules(text) for text in texts.to_pylist())
        return pa.array([text if kept else None for text, kept in found], pa.large_string())

    frame = daft.read_json(f"{source}/*.jsonl")
    frame = frame.select("id", cleaned(daft.col("text")).alias("text"))
    frame.where(daft.col("text").not_null()).write_parquet(str(out))


def rules_datatrove(source: Path, out: Path) -> None:
    """datatrove's local executor on two processes with the Python rules as a filter."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    class PythonRules(BaseFilter):  # type: ignore[misc]
        name = "the same rules"

        def filter(self, doc: Any) -> bool:
            doc.text, kept = kept_by_python_rules(doc.text)
            return kept

    steps = [JsonlReader(str(source), glob_pattern="*.jsonl"), PythonRules(), JsonlWriter(str(out))]
    LocalPipelineExecutor(steps, tasks=8, workers=2, logging_dir=str(out / "logs")).run()


def exact_duckdb(source: Path, out: Path) -> None:
    """DuckDB: one row of every md5, as parquet, which suits it best."""
    _duckdb(source, out, "kept.parquet", "FORMAT parquet, COMPRESSION zstd")


def exact_duckdb_lines(source: Path, out: Path) -> None:
    """The same as what we write: JSON lines packed with zstd."""
    _duckdb(source, out, "kept.jsonl.zst", "FORMAT json, COMPRESSION zstd")


def _duckdb(source: Path, out: Path, name: str, form: str) -> None:
    import duckdb

    out.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET threads TO 2")
    connection.execute(
        f"COPY (SELECT first(id) AS id, first(text) AS text FROM read_json('{source}/*.jsonl',"
        " columns={id: 'VARCHAR', text: 'VARCHAR'}, maximum_object_size=67108864)"
        f" GROUP BY md5(text)) TO '{out}/{name}' ({form})"
    )


def written(out: Path, kept: Iterator[tuple[str, str]]) -> None:
    """Write what a library that is no engine has kept."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "kept.jsonl").open("w", encoding="utf-8") as stream:
        for name, text in kept:
            stream.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")


def joined(bands: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Connected components of documents that share the key of a band; (N, bands) keys."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones, twos = [], []
    for band in range(bands.shape[1]):
        _, first, group = np.unique(bands[:, band], return_index=True, return_inverse=True)
        ones.append(first[group])
        twos.append(np.arange(len(bands)))
    one, two = np.concatenate(ones), np.concatenate(twos)
    links = coo_matrix((np.ones(len(one), bool), (one, two)), shape=(len(bands),) * 2)
    return np.asarray(connected_components(links, directed=False)[1])


def minhash_rensa(source: Path, out: Path) -> None:
    """rensa's signatures of character 5-grams, bands and components by numpy and scipy."""
    from rensa import RMinHash

    signatures, found = [], []
    for name, text in documents(source):
        folded = "".join(text.lower().split())
        minhash = RMinHash(num_perm=BANDS * ROWS, seed=1)
        minhash.update([folded[i : i + NGRAM] for i in range(max(1, len(folded) - NGRAM + 1))])
        signatures.append(minhash.digest())
        found.append((name, text))
    lanes = np.array(signatures, np.uint32).reshape(len(found), BANDS, ROWS)
    keys = np.ascontiguousarray(lanes).view(f"V{4 * ROWS}")[:, :, 0]
    numbers = np.stack([np.unique(keys[:, b], return_inverse=True)[1] for b in range(BANDS)], 1)
    _, first = np.unique(joined(numbers), return_index=True)
    written(out, (found[number] for number in np.sort(first)))


def minhash_daft(source: Path, out: Path) -> None:
    """Daft's own minhash over characters spaced out, because it splits at spaces."""
    import daft
    from daft import col

    frame = daft.read_json(f"{source}/*.jsonl").with_column("row", daft.lit(0))
    spaced = col("text").lower().regexp_replace(r"\s+", "").regexp_replace(r"(.)", "$1 ")
    signed = frame.with_column(
        "hashes", spaced.minhash(num_hashes=BANDS * ROWS, ngram_size=NGRAM, seed=1)
    ).collect()
    lanes = np.array(signed.to_pydict()["hashes"], np.uint32).reshape(-1, BANDS, ROWS)
    keys = np.ascontiguousarray(lanes).view(f"V{4 * ROWS}")[:, :, 0]
    numbers = np.stack([np.unique(keys[:, b], return_inverse=True)[1] for b in range(BANDS)], 1)
    _, first = np.unique(joined(numbers), return_index=True)
    kept = signed.to_pydict()
    written(out, ((kept["id"][n], kept["text"][n]) for n in np.sort(first).tolist()))


def minhash_datatrove(source: Path, out: Path) -> None:
    """datatrove's four stages, its shingles being hashed characters instead of words."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup import minhash as module
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    class Characters(MinhashDedupSignature):  # type: ignore[misc]
        def get_shingles(self, text: str) -> Any:
            folded = "".join(text.lower().split())
            runs = (folded[i : i + NGRAM] for i in range(max(1, len(folded) - NGRAM + 1)))
            return np.fromiter(map(self._hash_func, runs), np.uint64).reshape((-1, 1))

    module.load_word_tokenizer = lambda _: None  # else it asks for spaCy, and uses it for nothing
    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS)
    reader = JsonlReader(str(source), glob_pattern="*.jsonl")
    work = {name: str(out / name) for name in ("signatures", "buckets", "remove", "kept")}
    stages: list[tuple[list[Any], int]] = [
        ([reader, Characters(work["signatures"], config=config)], 8),
        ([MinhashDedupBuckets(work["signatures"], work["buckets"], config=config)], BANDS),
        ([MinhashDedupCluster(work["buckets"], work["remove"], config=config)], 1),
        ([reader, MinhashDedupFilter(work["remove"]), JsonlWriter(work["kept"])], 8),
    ]
    for number, (steps, tasks) in enumerate(stages):
        logs = str(out / f"logs{number}")
        LocalPipelineExecutor(steps, tasks=tasks, workers=2, logging_dir=logs).run()


PEERS: dict[tuple[str, str], Callable[[Path, Path], None]] = {
    ("rules", "daft with Python rules"): rules_daft,
    ("rules", "datatrove"): rules_datatrove,
    ("exact", "duckdb, to parquet"): exact_duckdb,
    ("exact", "duckdb, to jsonl.zst"): exact_duckdb_lines,
    ("minhash", "rensa"): minhash_rensa,
    ("minhash", "daft's own minhash"): minhash_daft,
    ("minhash", "datatrove"): minhash_datatrove,
}

if __name__ == "__main__":
    PEERS[sys.argv[1], sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))
