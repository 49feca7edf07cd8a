"""Schedule and optimiser against values by hand and plain torch."""

from __future__ import annotations

import pytest
import torch
from random_llama import random_llama
from torch import nn

from langraft.train.optim import NewRows, Optimiser
from langraft.train.schedule import wsd
from langraft.train.trainable import embedding_matrices, select

CLIP = 1e9


def test_wsd_by_hand() -> None:
    found = [wsd(step, 10, 0.2, 0.4) for step in range(10)]
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_wsd_without_warm_up_or_decay_is_constant() -> None:
    assert [wsd(step, 5, 0.0, 0.0) for step in range(5)] == [1.0] * 5


def test_wsd_all_decay_falls_linearly() -> None:
    assert [wsd(step, 4, 0.0, 1.0) for step in range(4)] == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_wsd_never_leaves_its_range() -> None:
    for steps in (1, 2, 3, 7, 60):
        for warmup, decay in ((0.5, 0.5), (0.0, 1.0), (1.0, 0.0), (0.05, 0.5)):
            assert all(0 < wsd(step, steps, warmup, decay) <= 1 for step in range(steps))


@pytest.mark.parametrize("tied", [False, True])
def test_matrices_and_selection(tied: bool) -> None:
    model = random_llama(tied=tied)
    assert len(embedding_matrices(model)) == (1 if tied else 2)
    names = {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    for train in ("new-rows", "embeddings"):
        assert set(select(model, train)) == names
        assert {n for n, p in model.named_parameters() if p.requires_grad} == names
    assert set(select(model, "full")) == {name for name, _ in model.named_parameters()}


def _parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(2)
    return {
        "matrix": nn.Parameter(torch.randn(10, 4)),
        "inner": nn.Parameter(torch.randn(6, 4)),
        "norm": nn.Parameter(torch.randn(4)),
    }


def _give_gradients(parameters: dict[str, nn.Parameter], step: int, size: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters.values():
        parameter.grad = size * torch.randn(parameter.shape, generator=generator)


def _plain(parameters: dict[str, nn.Parameter], lr: float) -> torch.optim.AdamW:
    kept = [parameters["matrix"], parameters["norm"]]
    groups = [
        {"params": [parameters["inner"]], "weight_decay": 0.3},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def test_equals_plain_adamw_with_clipping_and_schedule() -> None:
    mine, theirs = _parameters(), _parameters()
    learner = Optimiser(mine, 0.05, weight_decay=0.3, matrices=[mine["matrix"]])
    plain = _plain(theirs, 0.05)
    for step in range(6):
        share = wsd(step, 6, 0.3, 0.3)
        _give_gradients(mine, step)
        _give_gradients(theirs, step)
        norm = learner.step(share, 2.0)
        wanted = torch.nn.utils.clip_grad_norm_(list(theirs.values()), 2.0)
        for group in plain.param_groups:
            group["lr"] = 0.05 * share
        plain.step()
        assert float(norm) == pytest.approx(float(wanted), rel=1e-6)
        assert float(norm) > 2.0
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("ratio", [0.2, 5.0])
def test_new_rows_learn_at_their_own_rate(ratio: float) -> None:
    """Rows 7 to 9 equal a run at lr x ratio, all else a run at lr."""
    mine, slow, fast = _parameters(), _parameters(), _parameters()
    rows = NewRows(7, 9, ratio=ratio)
    learner = Optimiser(mine, 0.01, weight_decay=0.3, matrices=[mine["matrix"]], new_rows=rows)
    plain, quick = _plain(slow, 0.01), _plain(fast, 0.01 * ratio)
    for step in range(5):
        for parameters in (mine, slow, fast):
            _give_gradients(parameters, step)
        learner.step(1.0, CLIP)
        plain.step()
        quick.step()
    torch.testing.assert_close(mine["matrix"][7:9], fast["matrix"][7:9], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(mine["inner"], slow["inner"], atol=1e-6, rtol=1e-6)
    for old in (slice(0, 7), slice(9, 10)):
        torch.testing.assert_close(mine["matrix"][old], slow["matrix"][old], atol=1e-6, rtol=1e-6)
    assert (slow["matrix"][7:9] - fast["matrix"][7:9]).abs().max() > 5e-3


def test_only_new_rows_learn() -> None:
    mine = {"matrix": _parameters()["matrix"]}
    before = mine["matrix"].detach().clone()
    learner = Optimiser(
        mine, 0.01, weight_decay=0.3, matrices=[mine["matrix"]], new_rows=NewRows(7, 9, only=True)
    )
    for step in range(3):
        _give_gradients(mine, step)
        learner.step(1.0, 1.0)
    after = mine["matrix"].detach()
    assert torch.equal(after[:7], before[:7])
    assert torch.equal(after[9:], before[9:])
    assert (after[7:9] - before[7:9]).abs().min() > 1e-3


def test_the_norm_of_only_new_rows_leaves_the_others_out() -> None:
    mine = {"matrix": _parameters()["matrix"]}
    learner = Optimiser(mine, 0.01, matrices=[mine["matrix"]], new_rows=NewRows(7, 9, only=True))
    _give_gradients(mine, 0)
    wanted = float(mine["matrix"].grad[7:9].norm())
    assert float(learner.step(1.0, CLIP)) == pytest.approx(wanted, rel=1e-6)


def test_state_goes_out_and_comes_back() -> None:
    straight, first, second = _parameters(), _parameters(), _parameters()
    learner = Optimiser(straight, 0.01)
    half = Optimiser(first, 0.01)
    for step in range(4):
        _give_gradients(straight, step)
        learner.step(1.0, CLIP)
        if step < 2:
            _give_gradients(first, step)
            half.step(1.0, CLIP)
    rest = Optimiser(second, 0.01)
    moments = {name: tensor.clone() for name, tensor in half.tensors().items()}
    rest.load(moments, half.counts())
    with torch.no_grad():
        for name in second:
            second[name].copy_(first[name])
    for step in (2, 3):
        _give_gradients(second, step)
        rest.step(1.0, CLIP)
    assert all(torch.equal(second[name], straight[name]) for name in second)
