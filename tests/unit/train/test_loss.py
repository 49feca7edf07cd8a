"""Chunked cross-entropy against torch's own on all logits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from langraft.data.pack import IGNORE
from langraft.train import loss as loss_module
from langraft.train.loss import linear_cross_entropy, linear_logprobs

T, D, V = 37, 16, 53


def _case(ignored: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(T, D, generator=generator).requires_grad_()
    weight = torch.randn(V, D, generator=generator).requires_grad_()
    labels = torch.randint(V, (T,), generator=generator)
    labels[torch.rand(T, generator=generator) < ignored] = IGNORE
    return hidden, weight, labels


@pytest.mark.parametrize("ignored", [0.0, 0.4])
@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 512])
def test_equals_torch(chunk: int, ignored: float) -> None:
    hidden, weight, labels = _case(ignored)
    total, count, logprobs = linear_cross_entropy(hidden, weight, labels, chunk)
    (total * 0.5).backward()
    twin_hidden, twin_weight, _ = _case(ignored)
    logits = twin_hidden @ twin_weight.T
    wanted = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    (wanted * 0.5).backward()
    each = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    assert count == int((labels != IGNORE).sum())
    torch.testing.assert_close(total, wanted.double(), atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(logprobs, -each[labels != IGNORE].detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hidden.grad, twin_hidden.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weight.grad, twin_weight.grad, atol=1e-5, rtol=1e-5)
    assert (hidden.grad[labels == IGNORE] == 0).all()


@pytest.mark.parametrize("chunk", [5, 512])
@pytest.mark.parametrize(("z_loss", "smoothing"), [(0.03, 0.0), (0.0, 0.1), (0.03, 0.1)])
def test_z_loss_and_label_smoothing_equal_torch(
    chunk: int, z_loss: float, smoothing: float
) -> None:
    """PaLM's extra term, and torch's own smoothing, values and gradients."""
    hidden, weight, labels = _case(0.3)
    total, _, logprobs = linear_cross_entropy(
        hidden, weight, labels, chunk, z_loss=z_loss, smoothing=smoothing
    )
    total.backward()
    twin_hidden, twin_weight, _ = _case(0.3)
    logits = (twin_hidden @ twin_weight.T)[labels != IGNORE]
    kept = labels[labels != IGNORE]
    wanted = F.cross_entropy(logits, kept, reduction="sum", label_smoothing=smoothing)
    wanted = wanted + z_loss * logits.logsumexp(-1).square().sum()
    wanted.backward()
    torch.testing.assert_close(total, wanted.double(), atol=1e-3, rtol=1e-6)
    torch.testing.assert_close(hidden.grad, twin_hidden.grad, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(weight.grad, twin_weight.grad, atol=5e-5, rtol=1e-5)
    plain = linear_cross_entropy(*_case(0.3))[2]
    torch.testing.assert_close(logprobs, plain)  # what is logged and compared stays as it is


def test_a_frozen_matrix_gets_no_gradient() -> None:
    hidden, weight, labels = _case(0.2)
    weight.requires_grad_(False)
    linear_cross_entropy(hidden, weight, labels)[0].backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_log_probabilities_carry_no_gradient() -> None:
    assert not linear_cross_entropy(*_case(0.0))[2].requires_grad


def test_nothing_counts_where_all_labels_are_ignored() -> None:
    hidden, weight, _ = _case(0.0)
    total, count, logprobs = linear_cross_entropy(hidden, weight, torch.full((T,), IGNORE))
    total.backward()
    assert (float(total.detach()), count, logprobs.numel()) == (0.0, 0, 0)
    assert not hidden.grad.any()
    assert not weight.grad.any()


def test_the_sum_is_that_of_all_the_parts_to_the_last_digit() -> None:
    """Two ranks add their halves; rounded to float32 they would differ from one rank's sum."""
    hidden, weight, labels = _case(0.0)
    whole, _, logprobs = linear_cross_entropy(hidden, weight, labels)
    assert float(whole.detach()) == pytest.approx(-math.fsum(logprobs.tolist()), rel=1e-15)


def test_bfloat16_hidden_states_give_a_float32_gradient_of_the_matrix() -> None:
    hidden, weight, labels = _case(0.0)
    half = hidden.detach().to(torch.bfloat16).requires_grad_()
    total, _, _ = linear_cross_entropy(half, weight, labels)
    total.backward()
    assert (total.dtype, half.grad.dtype, weight.grad.dtype) == (
        torch.float64,
        torch.bfloat16,
        torch.float32,
    )
    wanted = F.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    assert float(total.detach()) == pytest.approx(float(wanted.detach()), rel=0.01)


def test_a_sum_made_some_rows_at_a_time_is_the_same_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for rows in (V, 7):
        monkeypatch.setattr(loss_module, "ADDED_ROWS", rows)
        hidden, weight, labels = _case(0.0)
        linear_cross_entropy(hidden.to(torch.bfloat16), weight, labels, 5)[0].backward()
        found.append(weight.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("ignored", [0.0, 0.4])
@pytest.mark.parametrize("chunk", [5, 512])
def test_logprobs_carry_a_gradient_for_each_label(chunk: int, ignored: float) -> None:
    hidden, weight, labels = _case(ignored)
    found = linear_logprobs(hidden, weight, labels, chunk)
    worth = torch.linspace(-2, 3, len(found))
    (found * worth).sum().backward()
    twin_hidden, twin_weight, _ = _case(ignored)
    kept = labels != IGNORE
    wanted = F.log_softmax(twin_hidden @ twin_weight.T, -1)[kept].gather(-1, labels[kept][:, None])
    (wanted[:, 0] * worth).sum().backward()
    torch.testing.assert_close(found, wanted[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hidden.grad, twin_hidden.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weight.grad, twin_weight.grad, atol=1e-5, rtol=1e-5)


class Largest(TorchDispatchMode):
    """The most values that any tensor made has."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return made


@pytest.mark.parametrize("loss", ["cross-entropy", "logprobs"])
def test_all_logits_never_exist_at_one_time(loss: str) -> None:
    hidden, weight, labels = _case(0.0)
    with Largest() as seen:
        if loss == "logprobs":
            linear_logprobs(hidden, weight, labels, 5).sum().backward()
        else:
            linear_cross_entropy(hidden, weight, labels, 5)[0].backward()
    assert seen.values <= max(5 * V, V * D, T * D)
    assert seen.values < T * V


def test_a_bfloat16_matrix_sums_its_gradient_well_enough() -> None:
    """64 chunks summed in bfloat16 stay within a rounding or two of the exact gradient."""
    torch.manual_seed(0)
    hidden = torch.randn(1_024, D).bfloat16()
    labels = torch.randint(V, (1_024,))
    exact = torch.randn(V, D).bfloat16().double().requires_grad_()
    F.cross_entropy(hidden.double() @ exact.T, labels, reduction="sum").backward()
    weight = exact.detach().bfloat16().requires_grad_()
    linear_cross_entropy(hidden, weight, labels, 16)[0].backward()
    assert weight.grad is not None and exact.grad is not None
    apart = (weight.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert float(apart) < 0.01
