"""Every method against rows worked by hand or another library."""

from __future__ import annotations

import typing

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from langraft.core.errors import BadInput
from langraft.graft.starts import (
    BLOCK_ROWS,
    METHODS,
    TILT,
    Knowledge,
    matching_pursuit,
    sparsemax,
    start_rows,
    subtoken_mean,
)
from langraft.graft.vectors import Vectors
from langraft.recipe.graft import PURE, parts_of

MATRIX = torch.tensor([[1.0, 2.0], [3.0, 6.0], [8.0, -2.0], [0.0, 1.0]])
PIECES = [[0, 1], [2], [0, 0, 2]]


def _rows(method: str, *, output: bool = False, **known: typing.Any) -> torch.Tensor:
    return start_rows(method, MATRIX, Knowledge(PIECES, **known), output=output)


def test_the_recipe_knows_every_method() -> None:
    assert tuple(METHODS) == PURE


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        ("mean", ("mean", "mean")),
        ("distil", ("distil", "fit")),
        ("distil/weighted", ("distil", "weighted")),
        ("weighted/fit", ("weighted", "fit")),
    ],
)
def test_a_start_is_two_methods(start: str, parts: tuple[str, str]) -> None:
    assert parts_of(start) == parts


@pytest.mark.parametrize("start", ["median", "fit", "mean/distil", "mean/", ""])
def test_no_such_start(start: str) -> None:
    with pytest.raises(ValueError, match=r"no (init|output) method"):
        parts_of(start)


def test_mean_and_zeros() -> None:
    torch.testing.assert_close(_rows("mean"), torch.tensor([[3.0, 1.75]]).expand(3, 2))
    assert torch.equal(_rows("zeros"), torch.zeros(3, 2))


def test_random_has_the_moments_of_the_base() -> None:
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([0.5, 3.0, 1.0])
    matrix = torch.randn(5_000, 3, generator=generator) * scale + torch.tensor([1.0, 0.0, -4.0])
    known = Knowledge([[0]] * 20_000, seed=3)
    found = start_rows("random", matrix, known, output=False)
    torch.testing.assert_close(found.mean(0), matrix.mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(found.std(0), matrix.std(0), atol=0, rtol=0.02)
    assert torch.equal(found, start_rows("random", matrix, known, output=False))
    assert not torch.equal(found, start_rows("random", matrix, known, output=True))


def test_weights_lean_to_the_last_token_going_in_and_to_the_first_coming_out() -> None:
    total = 1 + TILT
    wanted = (MATRIX[0] * TILT + MATRIX[1]) / total
    torch.testing.assert_close(_rows("weighted")[0], wanted)
    wanted = (MATRIX[0] + MATRIX[1] * TILT) / total
    torch.testing.assert_close(_rows("weighted", output=True)[0], wanted)
    torch.testing.assert_close(_rows("weighted")[1], MATRIX[2])


def test_translations_give_their_rows() -> None:
    """Piece 0 means token 3 or tokens 1 2; piece 1 has no translation; piece 2 means token 2."""
    senses = [[[3], [1, 2]], [], [[2]]]
    found = _rows("align", translations=senses)
    torch.testing.assert_close(found[0], (MATRIX[3] + MATRIX[1] + MATRIX[2]) / 3)
    torch.testing.assert_close(found[1], MATRIX[2])
    out = _rows("align", output=True, translations=senses)
    torch.testing.assert_close(out[0], (MATRIX[3] + MATRIX[1]) / 2)


def _space() -> Vectors:
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    pieces = torch.tensor([[2.0, 0.1], [0.0, 0.0], [3.0, -4.0]])
    return Vectors(torch.tensor([3, 1, 0]), anchors, torch.tensor([0, 2]), pieces)


def test_focus_by_hand() -> None:
    """Cosines of piece 0: 0.9988, 0.0499, -0.9988; sparsemax keeps the first two."""
    found = _rows("focus", vectors=_space())
    cosines = torch.tensor([2.0, 0.1]) / torch.tensor([2.0, 0.1]).norm()
    threshold = (cosines.sum() - 1) / 2
    weights = cosines - threshold
    torch.testing.assert_close(found[0], weights[0] * MATRIX[3] + weights[1] * MATRIX[1])
    torch.testing.assert_close(found[1], MATRIX[2])  # no vector: its sub-tokens' mean


def test_omp_takes_the_combination_over() -> None:
    """Piece 2 is 3 anchors 0 and -4 anchors 1, exactly."""
    found = _rows("omp", vectors=_space())
    torch.testing.assert_close(found[2], 3 * MATRIX[3] - 4 * MATRIX[1], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found[1], MATRIX[2])


def test_matching_pursuit_finds_a_sparse_combination() -> None:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(60, 40, generator=generator)
    chosen = torch.stack([torch.randperm(60, generator=generator)[:3] for _ in range(50)])
    weights = 1 + torch.rand(50, 3, generator=generator)
    wanted = torch.einsum("nk,nke->ne", weights, atoms[chosen])
    found, solved = matching_pursuit(atoms, wanted, 5)
    rebuilt = torch.einsum("nk,nke->ne", solved, atoms[found])
    good = (rebuilt - wanted).norm(dim=1) < 1e-3 * wanted.norm(dim=1)
    assert good.float().mean() > 0.9
    assert all(len(set(row)) == 5 for row in found.tolist())


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores: list[float]) -> None:
    """Against bisection for the threshold at which the clipped scores sum to one."""
    row = torch.tensor(scores, dtype=torch.float64)
    low, high = float(row.min()) - 1, float(row.max())
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if (row - middle).clamp(min=0).sum() > 1 else (low, middle)
    wanted = (row - low).clamp(min=0)
    torch.testing.assert_close(sparsemax(row[None])[0], wanted, atol=1e-9, rtol=0)


def test_blocks_do_not_show() -> None:
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(50, 4, generator=generator)
    pieces = [[i % 50, (7 * i) % 50] for i in range(BLOCK_ROWS + 3)]
    wanted = torch.stack([matrix[ids].mean(0) for ids in pieces])
    torch.testing.assert_close(subtoken_mean(matrix, pieces), wanted, atol=1e-6, rtol=1e-6)


def test_an_id_without_a_piece_gets_zeros() -> None:
    assert subtoken_mean(MATRIX, [[], [0]]).tolist() == [[0.0, 0.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("align", "needs a bilingual word list"),
        ("focus", "needs text"),
        ("omp", "needs text"),
        ("median", "there are subtoken-mean"),
    ],
)
def test_what_is_missing_is_named(method: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _rows(method)


@pytest.mark.parametrize("method", PURE)
def test_no_pieces_no_rows(method: str) -> None:
    assert start_rows(method, MATRIX, Knowledge([]), output=True).shape == (0, 2)
