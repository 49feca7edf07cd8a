"""Benchmark scripts that cannot be measured here still run from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizer_bases import byte_level_base


def smoke(script: Path, out: Path, *more: str | Path) -> tuple[dict[str, Any], str]:
    """What a script finds with `--smoke`, and what it prints."""
    done = subprocess.run(
        [sys.executable, script, "--smoke", "--json", out, *more],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.mark.slow
def test_every_gpu_case_runs_on_a_tiny_model(root: Path, tmp_path: Path) -> None:
    found, printed = smoke(root / "benchmarks/gpu.py", tmp_path / "gpu.json", "--steps", "2")
    cases = {
        name for name, row in found.items() if isinstance(row, dict) and "tokens_per_second" in row
    }
    assert cases == {
        "1.1B full",
        "1.1B full, selective",
        "7B LoRA + embeddings",
        "7B LoRA + embeddings, 4 bits",
        "7B full",
        "7B full, 8-bit states",
        "HF Trainer 1.1B",
    }
    assert found["attention"]["largest_difference"] < 1e-5
    assert found["packed against padded"]["padding_share"] > 0.3
    assert sum(found["1.1B full"]["profile"].values()) > 0.5
    assert "target" in printed


@pytest.mark.slow
def test_three_suites_are_asked_of_a_tiny_model(root: Path, material: Path, tmp_path: Path) -> None:
    found, _ = smoke(
        root / "benchmarks/eval_gpu.py",
        tmp_path / "eval.json",
        *("--tokenizer", byte_level_base(tmp_path, "gpt2")),
        *("--data", material / "benchmarks/benchmarks_dev.tar.zst"),
    )
    asked = {suite: found[f"{suite} questions"] for suite in ("mmlu", "cmmlu", "ceval")}
    assert asked == {"mmlu": 57, "cmmlu": 67, "ceval": 52}
    assert found["all seconds"] > 0
