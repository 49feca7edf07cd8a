"""Rows for 37,104 new pieces of width 4,096, both matrices: seconds and peak memory of each method.

    python benchmarks/graft_rows.py [--methods subtoken-mean weighted ...] [--json OUT]

The shape is that of Colossal-LLaMA-2 (32,000 + 37,104 rows). The peer is the upstream way, which
appends one row at a time to the whole matrix and so copies all of it for every piece; it is timed
over its first appends, and the whole is computed from that: every append costs as much as the rows
it copies. Nobody should have to wait for the real thing.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from langraft.graft.starts import Knowledge, start_rows

BASE, NEW, WIDTH = 32_000, 37_104, 4_096
LIMIT = 30.0
APPENDS = 12


def pieces() -> list[list[int]]:
    """Random spellings of two to six base tokens, as Chinese words have."""
    generator = np.random.Generator(np.random.PCG64(0))
    lengths = generator.integers(2, 7, NEW)
    return [generator.integers(0, BASE, size).tolist() for size in lengths]


def upstream_seconds(matrix: np.ndarray, spelt: list[list[int]]) -> float:
    """The quadratic loop's seconds for one matrix, computed from its first appends."""
    grown, begun = matrix, time.perf_counter()
    for ids in spelt[:APPENDS]:
        row = matrix[ids].mean(axis=0, keepdims=True)
        grown = np.concatenate([grown, row], axis=0)
    each = (time.perf_counter() - begun) / sum(BASE + i for i in range(APPENDS))
    return each * sum(BASE + i for i in range(NEW))


def main() -> None:
    """Time every method; exit 1 when one takes longer than LIMIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="*", default=["subtoken-mean", "weighted", "random"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(BASE, WIDTH, generator=generator).mul_(0.02).to(torch.bfloat16)
    spelt = pieces()
    known = Knowledge(spelt)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {}
    print("| method | both matrices, seconds | result, MB | peak above the start, MB |")
    print("|---|---|---|---|")
    for method in arguments.methods:
        begun = time.perf_counter()
        for output in (False, True):
            rows = start_rows(method, matrix, known, output=output)
        seconds = time.perf_counter() - begun
        size = rows.numel() * 4 / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - held
        found[method] = {"seconds": round(seconds, 2), "peak_mb": round(peak)}
        print(f"| {method} | {seconds:.1f} | {size:,.0f} | {peak:,.0f} |", flush=True)
        del rows
    peer = 2 * upstream_seconds(matrix.float().numpy(), spelt)
    slowest = max(each["seconds"] for each in found.values())
    print(f"\nupstream's loop, from its first {APPENDS} appends: {peer:,.0f} s")
    first = found[arguments.methods[0]]["seconds"]
    print(f"{arguments.methods[0]}: {peer / first:,.0f} times faster; limit {LIMIT:.0f} s")
    if arguments.json:
        text = json.dumps({"methods": found, "upstream_seconds": round(peer)}, indent=2)
        arguments.json.write_text(text + "\n")
    raise SystemExit(slowest > LIMIT)


if __name__ == "__main__":
    main()
