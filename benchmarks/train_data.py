"""The loader: tokens a second from two workers, and how long a resume after ten billion tokens
takes to its first batch.

    python benchmarks/train_data.py [--json FILE] [--folder DIR] [--billions 10]

The ten billion tokens are a sparse file (no bytes on disk) with real offsets: documents of 200 to
1,800 tokens. Every token is read through the memory map, packed and labelled.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROWS, ROW = 16, 4_096


def write_corpus(folder: Path, tokens: int) -> None:
    """A shard of `tokens` tokens; the token file is sparse."""
    lengths = np.random.default_rng(0).integers(200, 1_800, int(tokens / 990))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    folder.mkdir(parents=True)
    np.save(folder / "offsets.npy", offsets)
    np.lib.format.open_memmap(
        folder / "tokens.npy", mode="w+", dtype=np.uint32, shape=(int(offsets[-1]),)
    )


def course_of(folder: Path) -> Any:
    """Two languages, both read from the same file."""
    from langraft.data.course import Course, Layout
    from langraft.data.pack import Stream
    from langraft.data.shards import read_shard

    def bucket(number: int) -> dict[str, Stream]:
        shard = read_shard(folder)
        return {"zh": Stream([shard], 1, (0, 2)), "en": Stream([shard], 2, (1, 2))}

    return Course({"zh": 0.8, "en": 0.2}, Layout(ROWS, ROW, 1 << 30), bucket)


def read(folder: Path, rank: int, steps: int, start: Any, done: Any) -> None:
    """One worker: its half of every batch."""
    course = course_of(folder)
    course.batches(0, None, rank, 2)
    start.wait()
    begun, worked = time.perf_counter(), time.process_time()
    for step in range(1, steps + 1):
        course.batches(step, None, rank, 2)
    done.put((time.perf_counter() - begun, time.process_time() - worked))


def throughput(folder: Path, steps: int = 150) -> dict[str, float]:
    """Tokens a second that two processes read together."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(2), context.Queue()
    workers = [context.Process(target=read, args=(folder, r, steps, start, done)) for r in (0, 1)]
    for worker in workers:
        worker.start()
    taken = [done.get() for _ in workers]
    for worker in workers:
        worker.join()
    tokens = steps * ROWS * ROW
    return {
        "tokens_per_second": round(tokens / max(wall for wall, _ in taken)),
        "tokens_per_processor_second": round(tokens / sum(worked for _, worked in taken)),
    }


RESUME = """
import sys, time
from pathlib import Path
begun = time.perf_counter()
sys.path.insert(0, {here!r})
from train_data import course_of, ROW, ROWS
course = course_of(Path({folder!r}))
course.load({{"shares": [[0, {{"zh": 0.8, "en": 0.2}}]], "late": [], "edges": [0, 1 << 30],
             "position": {step} - 1}})
batch = course.batches({step})[0]
print(time.perf_counter() - begun, time.process_time())
"""


def resume(folder: Path, tokens: int) -> dict[str, float]:
    """Seconds in a new process from before the imports to the first batch behind `tokens`."""
    step = tokens // (ROWS * ROW)
    here = str(Path(__file__).resolve().parent)
    code = RESUME.format(here=here, folder=str(folder), step=step)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wall, worked = map(float, out.stdout.split())
    return {
        "step": step,
        "seconds_to_first_batch": round(wall, 2),
        "processor_seconds": round(worked, 2),
    }


def main() -> None:
    """Write the corpus, measure both, and remove it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--billions", type=float, default=10)
    parser.add_argument("--steps", type=int, default=150, help="batches of 65,536 tokens")
    arguments = parser.parse_args()
    tokens = int(arguments.billions * 1e9)
    place = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        write_corpus(place / "corpus", tokens)
        found = {
            "loader": throughput(place / "corpus", arguments.steps),
            "resume": resume(place / "corpus", tokens),
        }
    finally:
        shutil.rmtree(place)
    loader, resumed = found["loader"], found["resume"]
    print(
        f"two workers read {loader['tokens_per_second']:,} tokens/s (target 1,000,000), "
        f"{loader['tokens_per_processor_second']:,} a processor second of each"
    )
    print(
        f"behind {tokens:,} tokens: first batch after {resumed['seconds_to_first_batch']} s "
        f"(target 5), {resumed['processor_seconds']} processor seconds with all imports"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
