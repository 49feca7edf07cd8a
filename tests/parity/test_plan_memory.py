"""A plan's memory against what the engine's own steps allocate, counted by torch's profiler."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("way", ["all", "all, bf16, recomputed", "LoRA and embeddings, bf16"])
def test_within_a_tenth(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from plan_memory import WAYS, Size, peak_allocated, planned

    size = Size(layers=4, hidden=256, heads=4, keys=2, inner=704, rows=8_192)
    plan = planned(size, WAYS[way])
    assert (plan.total - plan.margin) / peak_allocated(size, WAYS[way]) == pytest.approx(1, abs=0.1)
