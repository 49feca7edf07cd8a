"""Small optimiser states against full ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from langraft.train.moments import BLOCK, codebook, dequantise, quantise
from langraft.train.optim import Optimiser


@pytest.mark.parametrize("signed", [True, False])
def test_the_codebook(signed: bool) -> None:
    book = codebook(signed)
    assert len(set(book.tolist())) == 256
    assert (book.diff() > 0).all()
    assert (float(book[-1]), bool((book < 0).any())) == (1.0, signed)
    assert bool((book == 0).any()) == signed


@given(seed=st.integers(0, 50), columns=st.integers(1, 600), signed=st.booleans())
def test_what_is_quantised_is_near(seed: int, columns: int, signed: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, columns, generator=generator) * 10.0 ** float(seed % 7 - 3)
    values = values if signed else values.square()
    codes, scales = quantise(values, signed)
    assert codes.shape == values.shape
    assert scales.shape == (3, -(-columns // BLOCK))
    back = dequantise(codes, scales, signed)
    largest = scales.repeat_interleave(BLOCK, 1)[:, :columns]
    assert bool(((back - values).abs() <= 0.01 * largest + 0.08 * values.abs()).all())


def _pair() -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    generator = torch.Generator().manual_seed(0)
    start = {"matrix": torch.randn(80, 300, generator=generator), "norm": torch.ones(8)}
    first, second = ({n: nn.Parameter(v.clone()) for n, v in start.items()} for _ in range(2))
    return first, second


@pytest.mark.parametrize(("states", "limit"), [("bf16", 0.02), ("8bit", 0.12)])
def test_twenty_steps_stay_near_full_states(states: str, limit: float) -> None:
    """The distance to full states' result, relative to how far the weights moved."""
    small, full = _pair()
    before = full["matrix"].detach().clone()
    learners = [
        Optimiser(small, 1e-2, weight_decay=0.1, states=states),  # type: ignore[arg-type]
        Optimiser(full, 1e-2, weight_decay=0.1),
    ]
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        for name in full:
            full[name].grad = torch.randn(full[name].shape, generator=generator)
            small[name].grad = full[name].grad.clone()
        for learner in learners:
            learner.step(1.0, 1e9)
    moved = (full["matrix"] - before).norm()
    assert 0 < float((small["matrix"] - full["matrix"]).detach().norm() / moved.detach()) < limit
    assert torch.allclose(small["norm"], full["norm"], atol=1e-6)  # small parameters: full states
    held = learners[0].tensors()
    size = sum(t.numel() * t.element_size() for n, t in held.items() if n.startswith("matrix"))
    per_weight = size / small["matrix"].numel()
    assert per_weight == (4.0 if states == "bf16" else pytest.approx(2.05, abs=0.01))
