"""Benchmark scripts that cannot be measured here still run from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_gpu_case_runs_on_a_tiny_model(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, root / "benchmarks/gpu.py", "--smoke", "--steps", "2", "--json", out],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    cases = {
        name for name, row in found.items() if isinstance(row, dict) and "tokens_per_second" in row
    }
    assert cases == {
        "1.1B full",
        "1.1B full, selective",
        "7B LoRA + embeddings",
        "7B full",
        "7B full, 8-bit states",
        "HF Trainer 1.1B",
    }
    assert found["attention"]["largest_difference"] < 1e-5
    assert found["packed against padded"]["padding_share"] > 0.3
    assert sum(found["1.1B full"]["profile"].values()) > 0.5
    assert "target" in done.stdout
