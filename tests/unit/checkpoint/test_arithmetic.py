"""Averages, spherical averages, task vectors and the chat vector."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from checkpoints import state_of, tuned, write_model
from hypothesis import given
from hypothesis import strategies as st
from random_llama import random_llama, weights

from langraft.checkpoint import stream
from langraft.checkpoint.arithmetic import add_vectors, average, linear, slerp_weights, task_sum
from langraft.checkpoint.folder import load_model
from langraft.core.errors import BadInput


def test_linear_by_hand() -> None:
    blocks = [torch.tensor([1.0, 2.0]), torch.tensor([5.0, -2.0])]
    assert linear(blocks, [0.25, 0.75]).tolist() == [4.0, -1.0]


def test_slerp_by_hand() -> None:
    """Between two right angles: 60 and 30 degrees."""
    first, second = slerp_weights(0.0, 1.0, 1.0, 1 / 3)
    assert (first, second) == pytest.approx((math.sin(math.pi / 3), math.sin(math.pi / 6)))


@given(st.floats(0, 1), st.floats(0.01, math.pi - 0.01), st.floats(0.1, 10))
def test_slerp_stays_on_the_sphere(t: float, angle: float, length: float) -> None:
    one = torch.tensor([length, 0.0], dtype=torch.float64)
    two = length * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    first, second = slerp_weights(float(one @ two), length, length, t)
    mixed = first * one + second * two
    assert float(mixed.norm()) == pytest.approx(length, rel=1e-6)
    assert math.atan2(mixed[1], mixed[0]) == pytest.approx(t * angle, abs=1e-6)


@pytest.mark.parametrize(("dot", "first"), [(0.0, 0.0), (1.0, 1.0), (-1.0, 1.0)])
def test_slerp_where_there_is_no_angle(dot: float, first: float) -> None:
    assert slerp_weights(dot, first, 1.0, 0.25) == (0.75, 0.25)


def test_task_sum_by_hand() -> None:
    start = torch.tensor([[1.0], [2.0], [3.0]])
    plus, minus = torch.tensor([[10.0], [20.0]]), torch.tensor([[4.0], [8.0]])
    assert task_sum(start, [(0.5, plus, minus)]).tolist() == [[4.0], [8.0], [3.0]]
    assert start.tolist() == [[1.0], [2.0], [3.0]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that even these tensors are read in several."""
    monkeypatch.setattr(stream, "BLOCK_ELEMENTS", 300)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    base = random_llama()
    models = [base, tuned(base, seed=5), tuned(base, seed=6)]
    return [write_model(tmp_path / f"m{n}", model) for n, model in enumerate(models)]


def test_average(three: list[Path], tmp_path: Path) -> None:
    note = average(three, tmp_path / "out", weights=[1, 1, 2])
    assert note["made"]["weights"] == [0.25, 0.25, 0.5]
    parts, found = [state_of(folder) for folder in three], state_of(tmp_path / "out")
    for name, tensor in found.items():
        wanted = 0.25 * parts[0][name] + 0.25 * parts[1][name] + 0.5 * parts[2][name]
        torch.testing.assert_close(tensor, wanted, atol=1e-6, rtol=1e-6)
    load_model(tmp_path / "out")


def test_slerp_takes_the_angle_of_whole_tensors(three: list[Path], tmp_path: Path) -> None:
    average(three[:2], tmp_path / "out", method="slerp", weights=[0.7, 0.3])
    one, two = (state_of(folder) for folder in three[:2])
    for name, tensor in state_of(tmp_path / "out").items():
        a, b = one[name].double().flatten(), two[name].double().flatten()
        angle = torch.arccos((a @ b / a.norm() / b.norm()).clamp(-1, 1))
        wanted = 0.7 * a + 0.3 * b
        if angle > 1e-3:
            shares = torch.sin(0.7 * angle), torch.sin(0.3 * angle)
            wanted = (shares[0] * a + shares[1] * b) / torch.sin(angle)
        torch.testing.assert_close(tensor.double().flatten(), wanted, atol=1e-6, rtol=1e-5)


def test_a_task_vector_taken_away_again(three: list[Path], tmp_path: Path) -> None:
    base, fine, other = three
    add_vectors(other, [(0.5, fine, base)], tmp_path / "more")
    add_vectors(tmp_path / "more", [(-0.5, fine, base)], tmp_path / "back")
    states = [state_of(folder) for folder in (*three, tmp_path / "more")]
    name = "model.layers.1.mlp.down_proj.weight"
    wanted = states[2][name] + 0.5 * (states[1][name] - states[0][name])
    torch.testing.assert_close(states[3][name], wanted)
    for name, tensor in state_of(tmp_path / "back").items():
        torch.testing.assert_close(tensor, states[2][name], atol=1e-6, rtol=1e-6)


def test_two_vectors_at_once(three: list[Path], tmp_path: Path) -> None:
    base, fine, other = three
    add_vectors(base, [(1, fine, base), (0.5, other, base)], tmp_path / "out")
    states = [state_of(folder) for folder in three]
    for name, tensor in state_of(tmp_path / "out").items():
        wanted = states[1][name] + 0.5 * (states[2][name] - states[0][name])
        torch.testing.assert_close(tensor, wanted, atol=1e-6, rtol=1e-5)


def test_the_chat_vector_leaves_added_rows(tmp_path: Path) -> None:
    base = random_llama()
    chat, adapted = tuned(base, seed=5), tuned(base, rows=96, seed=6)
    for name, model in (("base", base), ("chat", chat)):
        write_model(tmp_path / name, model)
    write_model(tmp_path / "zh", adapted, ids=96)
    vector = (1.0, tmp_path / "chat", tmp_path / "base")
    add_vectors(tmp_path / "zh", [vector], tmp_path / "out")
    found = load_model(tmp_path / "out")
    assert found.config.vocab_size == 96
    for name, tensor in weights(found).items():
        old, new, start = (weights(model)[name] for model in (base, chat, adapted))
        wanted = start.clone()
        wanted[: len(old)] += new - old
        torch.testing.assert_close(tensor, wanted, atol=1e-6, rtol=1e-6)
        if len(start) == 96:
            assert torch.equal(tensor[64:], start[64:])


def test_rows_that_only_the_chat_model_has_are_left_out(tmp_path: Path) -> None:
    """Row 64 of the chat model is its <pad>; in the adapted model it is a Chinese word."""
    base = random_llama()
    chat, adapted = tuned(base, rows=66, seed=5), tuned(base, rows=96, seed=6)
    for name, model in (("base", base), ("chat", chat), ("zh", adapted)):
        write_model(tmp_path / name, model)
    vector = (1.0, tmp_path / "chat", tmp_path / "base")
    add_vectors(tmp_path / "zh", [vector], tmp_path / "out")
    found = state_of(tmp_path / "out")["lm_head.weight"]
    assert torch.equal(found[64:], adapted.lm_head.weight[64:])
    assert not torch.equal(found[:64], adapted.lm_head.weight[:64])


def test_tensors_can_be_kept(three: list[Path], tmp_path: Path) -> None:
    base, fine, other = three
    add_vectors(other, [(1, fine, base)], tmp_path / "out", keep=["embed_tokens", "lm_head"])
    found, start = state_of(tmp_path / "out"), state_of(other)
    same = {name for name in start if torch.equal(found[name], start[name])}
    assert same >= {"model.embed_tokens.weight", "lm_head.weight"}
    assert "model.layers.0.mlp.up_proj.weight" not in same


def test_what_cannot_be_summed(three: list[Path], tmp_path: Path) -> None:
    wide = write_model(tmp_path / "wide", tuned(random_llama(), rows=96))
    deep = write_model(tmp_path / "deep", random_llama(layers=3))
    out = tmp_path / "out"
    with pytest.raises(BadInput, match=r"wide: its 'lm_head\.weight' has shape \(96, 32\)"):
        average([three[0], wide], out)
    with pytest.raises(BadInput, match=r"layers\.2\..* has shape \(32,\), and that of .*m0 None"):
        average([three[0], deep], out)
    with pytest.raises(BadInput, match=r"m0: its 'model\.layers\.2\..*' is missing"):
        add_vectors(deep, [(1, three[0], three[1])], out)
    with pytest.raises(BadInput, match="slerp takes two models"):
        average(three, out, method="slerp")
    with pytest.raises(BadInput, match="linear takes two or more models"):
        average(three[:1], out)
    for shares in ([1.0], [1.0, -1.0], [0.0, 0.0], [math.nan, 1.0]):
        with pytest.raises(BadInput, match="one a model is wanted"):
            average(three[:2], out, weights=shares)
    assert not list(tmp_path.glob("out*"))


def test_where_it_came_from_is_recorded(three: list[Path], tmp_path: Path) -> None:
    add_vectors(three[0], [(0.5, three[1], three[2])], tmp_path / "out")
    made = json.loads((tmp_path / "out" / "langraft.json").read_text())["made"]
    assert made["vectors"] == [[0.5, str(three[1]), str(three[2])]]
