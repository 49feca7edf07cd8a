"""MB of text a CPU-second: the corpus engine beside datatrove, Daft, rensa and DuckDB.

    python benchmarks/corpus_speed.py JOB [--peers PYTHON] [--only PEER] [--sample DIR]
        [--megabytes 200] [--json FILE]

JOB is kernel (the rules alone, against the plain Python reference), rules (normalise and rules end
to end), exact, minhash, whole (every step of the recipe of the test material but scoring by a
model) or memory (the peak at a quarter of the text and at all of it). PYTHON is one with the
peers (`make bench-setup`).

CPU-seconds are those of the whole process tree, start-up included: the sample's bytes of text are
divided by what the kernel accounts to all processes that were started. Ours is `build_corpus` with
all that it cannot leave out: the hold-out, the guard of it, packing with zstd, and its shards on
disk. The peers write what they keep and no more.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from corpus_peers import PEERS, ROOT, kept_by_python_rules
from corpus_sample import make_sample

from langraft.core.io import write_json

NO_LIMITS = {
    "min_tokens": 0,
    **{f"max_{name}_share": 1 for name in ("digit", "symbol", "garbage", "html", "run")},
    **{f"max_{name}_share": 1 for name in ("duplicate_line", "duplicate_line_character")},
    "max_repeated_20gram_share": 1,
}
AS_IT_IS = {"clean": {"normalise": "none", "ftfy": False}, "rules": "any", "thresholds": NO_LIMITS}
OURS: dict[str, dict[str, Any]] = {
    "rules": {"rules": "zh", "dedup": {"exact": False}},
    "exact": {**AS_IT_IS, "dedup": {"exact": True}},
    "minhash": {**AS_IT_IS, "dedup": {"exact": True, "minhash": {}}},
}
TARGETS = {
    "kernel": {"MB/s": 80, "agreement": 0.999},
    "rules": {"MB/s": 12, "datatrove": 3, "daft with Python rules": 3},
    "exact": {"duckdb, to jsonl.zst": 0.75},
    "minhash": {"MB/s": 20, "rensa": 2.4, "datatrove": 6},
    "whole": {"MB/s": 5},
}
PR_SET_CHILD_SUBREAPER = 36


def cpu_seconds(command: list[str]) -> tuple[float, float]:
    """CPU-seconds of `command` and everything that it starts, and the peak of its largest process
    in MB.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans come to us and count
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    spent, peak = 0.0, 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                break
            spent += usage.ru_utime + usage.ru_stime
            peak = max(peak, usage.ru_maxrss)
            if pid == process.pid:
                process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command[:4])} failed:\n{said.read()[-2000:].decode()}")
    return spent, peak / 1e3


def run_ours(job: str, source: Path, out: Path) -> None:
    """What the process of our own row does."""
    from langraft.corpus.build import build_corpus
    from langraft.recipe import Corpus, load_recipe

    if job == "whole":
        recipe = load_recipe(ROOT / "recipes" / "corpus-material.yaml")
        assert recipe.corpus is not None
        counts = build_corpus(recipe.corpus, "zh", ROOT / "recipes", out)
    else:
        sources = [{"name": "zh", "paths": ["*.jsonl"], "language": "zh"}]
        settings = {"sources": sources, "holdout": {"bytes": 1_000}, **OURS[job]}
        counts = build_corpus(Corpus.model_validate(settings), "zh", source, out)
    write_json(out / "bench.json", {"bytes": counts["steps"][0]["bytes"], **counts["seconds"]})


def ours(job: str, source: Path, out: Path) -> list[str]:
    """The command of our own row."""
    return [sys.executable, __file__, job, "--ours", str(source), str(out)]


def compare(
    job: str, source: Path, size: int, peers: str, work: Path, only: str | None = None
) -> dict[str, Any]:
    """One job: us, then each peer, or only one of them."""
    rows: dict[str, Any] = {}
    contenders = [("langraft", ours(job, source, work / "ours"))]
    script = str(Path(__file__).with_name("corpus_peers.py"))
    for task, peer in PEERS:
        if task == job and only in (None, peer):
            command = [peers, script, job, peer, str(source), str(work / peer.replace(" ", "-"))]
            contenders.append((peer, command))
    for name, command in contenders:
        spent, _ = cpu_seconds(command)
        rows[name] = {"cpu_seconds": round(spent, 2), "MB/s": round(size / 1e6 / spent, 2)}
        ratio = rows["langraft"]["MB/s"] / rows[name]["MB/s"]
        rows[name]["ratio"] = round(ratio, 2)
        print(f"{job:8} {name:24} {rows[name]['MB/s']:8.2f} MB/s/core   ours is {ratio:.2f} x")
    return rows


def exact_alone(source: Path, size: int) -> dict[str, Any]:
    """Exact dedup without reading and writing: keys of texts in memory, and which come first."""
    import numpy as np
    from corpus_peers import documents

    from langraft.corpus.dedup import first_copies
    from langraft.corpus.kernels.sign import document_keys
    from langraft.corpus.kernels.texts import Texts

    texts = Texts.of(text for _, text in documents(source))
    document_keys(texts.take(np.arange(10)))
    started = time.process_time()
    keys = np.frombuffer(b"".join(document_keys(texts)), ">u8").astype(np.uint64)
    kept = int(first_copies(keys.reshape(-1, 2)).sum())
    found = round(size / 1e6 / (time.process_time() - started), 1)
    print(f"exact    the step alone, texts in memory: {found} MB/s/core, {kept:,} kept")
    return {"MB/s": found, "kept": kept}


def kernel(source: Path, size: int) -> dict[str, Any]:
    """The rules alone: compiled on everything, in plain Python on a fortieth of it."""
    import numpy as np
    from corpus_peers import documents

    from langraft.corpus.clean import clean
    from langraft.corpus.kernels.texts import Texts
    from langraft.corpus.rules import judge, thresholds
    from langraft.recipe import Clean

    texts = [text for _, text in documents(source)]
    packed = clean(Texts.of(texts), Clean())
    limits = thresholds("zh")
    judge(packed.take(np.arange(10)), limits)
    started = time.process_time()
    verdicts = judge(packed, limits)
    spent = time.process_time() - started
    chosen = random.Random(0).sample(range(len(texts)), min(len(texts), 10_000))
    part = sum(len(texts[number].encode()) for number in chosen)
    started = time.process_time()
    reference = [kept_by_python_rules(texts[number])[1] for number in chosen]
    slow = time.process_time() - started
    equal = sum(verdicts[n].kept == kept for n, kept in zip(chosen, reference, strict=True))
    found = {
        "MB/s": round(size / 1e6 / spent, 1),
        "python_MB/s": round(part / 1e6 / slow, 2),
        "compared": len(chosen),
        "agreement": equal / len(chosen),
        "dropped": sum(not verdict.kept for verdict in verdicts),
        "documents": len(texts),
    }
    ratio = found["MB/s"] / found["python_MB/s"]
    print(f"kernel   rules: {found['MB/s']} MB/s/core, plain Python {found['python_MB/s']}")
    print(f"         {ratio:.1f} x; agreement {equal} of {len(chosen)}")
    return found


def whole(work: Path) -> dict[str, Any]:
    """Every step but scoring by a model, over all corpora of the material, with eleven suites."""
    spent, peak = cpu_seconds(ours("whole", work, work / "ours"))
    noted = json.loads((work / "ours" / "bench.json").read_text())
    size = noted.pop("bytes")
    found = {"MB": round(size / 1e6, 1), "MB/s": round(size / 1e6 / spent, 2)}
    print(f"whole    {found['MB']} MB, {found['MB/s']} MB/s/core, peak {peak:.0f} MB")
    print(f"         CPU-seconds by step: {noted}")
    return {**found, "cpu_seconds": round(spent, 1), "peak_MB": round(peak), "steps": noted}


def memory(megabytes: int, work: Path) -> dict[str, Any]:
    """Peak memory with near duplicates at a quarter of the text and at all of it."""
    found: dict[str, Any] = {}
    small = work / "sample"
    size = make_sample(small, megabytes // 4)["bytes"]
    large = work / "large"
    large.mkdir()
    for copy in range(4):  # other characters in each copy, so that no copy is a duplicate
        for path in sorted(small.glob("*.jsonl")):
            with (
                path.open(encoding="utf-8") as read,
                (large / f"{copy}-{path.name}").open("w", encoding="utf-8") as out,
            ):
                for line in read:
                    out.write(shifted(line, copy))
    for name, folder, amount in (("quarter", small, size), ("all", large, 4 * size)):
        _, peak = cpu_seconds(ours("minhash", folder, work / f"out-{name}"))
        found[name] = {"MB": round(amount / 1e6), "peak_MB": round(peak)}
        print(f"memory   {amount / 1e6:.0f} MB of text: peak {peak:.0f} MB")
        shutil.rmtree(work / f"out-{name}")
    return found


def shifted(line: str, by: int) -> str:
    """Every third Chinese character of a record exchanged for one `by` places on."""
    record = json.loads(line)
    letters = list(record["text"])
    for place in range(0, len(letters), 3):
        if "\u4e00" <= letters[place] < "\u9f00":
            letters[place] = chr(ord(letters[place]) + by)
    record["text"] = "".join(letters)
    return json.dumps(record, ensure_ascii=False) + "\n"


def main() -> None:
    """Run one job and print how it stands to its targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=["kernel", "rules", "exact", "minhash", "whole", "memory"])
    parser.add_argument("--peers", default=str(ROOT / ".venv-bench" / "bin" / "python"))
    parser.add_argument("--only", help="one peer")
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ours", nargs=2, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ours:
        run_ours(chosen.job, *chosen.ours)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sample = chosen.sample or work / "sample"
        if chosen.job == "whole":
            found = whole(work)
        elif chosen.job == "memory":
            found = memory(chosen.megabytes, work)
        else:
            size = make_sample(sample, chosen.megabytes)["bytes"]
            found = (
                kernel(sample, size)
                if chosen.job == "kernel"
                else compare(chosen.job, sample, size, chosen.peers, work, chosen.only)
            )
            if chosen.job == "exact":
                found["langraft, the step alone"] = exact_alone(sample, size)
    print(f"targets: {TARGETS.get(chosen.job, 'the peak stays')}")
    if chosen.json:
        write_json(chosen.json, found)


if __name__ == "__main__":
    main()
