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


WAYS = (
    "all, bf16",
    "all, bf16, two rows at a time",
    "all, bf16, selective",
    "all, bf16, moments in 8 bit",
    "LoRA and embeddings, bf16, recomputed",
    "LoRA alone, bf16, frozen bf16",
    "new rows, bf16",
)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_benchmarks_own_size_within_a_tenth(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """59M parameters; what the other test leaves out."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from plan_memory import CASES, SIZES, peak_allocated, planned

    size, case = CASES[f"59M, {way}"]
    plan, peak = planned(SIZES[size], case), peak_allocated(SIZES[size], case)
    assert (plan.total - plan.margin) / peak == pytest.approx(1, abs=0.1)
