"""Frozen weights in 8 and 4 bits under an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from random_llama import CPU, random_course, random_llama, weights

from langraft.core.metrics import MetricsLog, read_metrics
from langraft.recipe import Hardware, Pretrain
from langraft.train.frozen import BLOCK, CodedLinear, code_values, decode, encode
from langraft.train.precision import Device
from langraft.train.pretrain import pretrain, steps
from langraft.train.stage import Place
from langraft.train.trainable import learnt_weights, lora_scaling

# QLoRA, appendix E
PUBLISHED = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
LORA: dict[str, Any] = {
    "name": "adapt",
    "tokens": 12 * 128,
    "epochs": 100,
    "lr": 5e-3,
    "batch_tokens": 128,
    "row_tokens": 16,
    "train": "lora",
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
}


def test_four_bits_are_the_published_quantiles() -> None:
    assert code_values("nf4").tolist() == pytest.approx(PUBLISHED, abs=2e-7)


@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 150),
    size=st.sampled_from([1e-6, 1.0, 300.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("how", ["int8", "nf4"])
def test_every_weight_becomes_the_nearest_value_of_its_block(
    how: str, rows: int, columns: int, size: float, seed: int
) -> None:
    weight = size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    codes, scales = encode(weight, how)
    assert codes.numel() == len(scales) * BLOCK // (2 if how == "nf4" else 1)
    found = decode(codes, scales, how, weight.shape, torch.float32)
    each = scales.repeat_interleave(BLOCK)[: weight.numel()].view_as(weight)
    nearest = (weight[..., None] - each[..., None] * code_values(how)).abs().amin(-1)
    torch.testing.assert_close((weight - found).abs(), nearest, atol=1e-6 * size, rtol=1e-5)


def test_a_row_of_zeros_stays_zero() -> None:
    for how in ("int8", "nf4"):
        codes, scales = encode(torch.zeros(2, 64), how)
        assert not decode(codes, scales, how, torch.Size((2, 64)), torch.float32).any()


@pytest.mark.parametrize("how", ["int8", "nf4"])
@pytest.mark.parametrize("bias", [False, True])
def test_the_layer_is_a_product_with_what_the_codes_stand_for(how: str, bias: bool) -> None:
    """Values and gradient; between the passes no matrix of floating-point weights is kept."""
    torch.manual_seed(0)
    plain = torch.nn.Linear(96, 80, bias=bias)
    coded = CodedLinear(plain, how)
    weight = decode(coded.codes, coded.scales, how, plain.weight.shape, torch.float32)
    inputs, twin = (torch.ones(3, 7, 96).mul_(0.3).requires_grad_() for _ in range(2))
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = coded(inputs)
    wanted = F.linear(twin, weight, plain.bias)
    torch.testing.assert_close(found, wanted)
    found.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(inputs.grad, twin.grad)
    assert not [t for t in kept if t.is_floating_point() and t.numel() >= plain.weight.numel()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert coded(inputs).dtype == torch.bfloat16


def _trained(folder: Path, how: str, device: Device = CPU) -> tuple[Any, Any, list[float]]:
    folder.mkdir()
    model, stage = random_llama(hidden=64), Pretrain(**LORA)
    log = MetricsLog(folder / "metrics.jsonl", "adapt")
    place = Place(device, hardware=Hardware(frozen=how))
    course = random_course(steps=steps(stage))
    done = pretrain(model, course, stage, (56, 62), place, folder, log, lambda s, t: None)
    return model, done, [r["loss"] for r in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize(("how", "near"), [("int8", 0.03), ("nf4", 0.4)])
def test_an_adapter_learns_over_coded_weights(tmp_path: Path, how: str, near: float) -> None:
    """Weights ten times larger than a fresh model's make every error show."""
    _, _, full = _trained(tmp_path / "fp32", "fp32")
    model, done, coded = _trained(tmp_path / how, how)
    assert coded[0] == pytest.approx(full[0], abs=near)
    assert coded[0] != full[0]
    assert coded[-1] < coded[0] - 1.0
    layer = model.model.layers[0].mlp.up_proj.base_layer
    held = sum(b.numel() * b.element_size() for b in layer.buffers())
    assert held == 64 * 128 * (1 if how == "int8" else 0.5) + 64 * 128 / BLOCK * 4
    # what is merged is the adapter, onto the weights as they were
    plain = random_llama(hidden=64)
    merged = learnt_weights(done.weights, weights(plain), lora_scaling(Pretrain(**LORA).lora))
    name = "model.layers.0.mlp.up_proj.weight"
    assert 0 < float((merged[name] - weights(plain)[name]).abs().max()) < 1.0


def test_under_bfloat16_the_rest_is_bfloat16_and_the_adapter_float32(tmp_path: Path) -> None:
    model, _, losses = _trained(tmp_path / "nf4", "nf4", Device("cpu", bf16=True))
    assert losses[-1] < losses[0] - 1.0
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert dtypes["model.layers.0.input_layernorm.weight"] == torch.bfloat16
    assert dtypes["model.layers.0.mlp.up_proj.lora_A.default.weight"] == torch.float32


@pytest.mark.parametrize(("train", "warned"), [("embeddings", True), ("full", False)])
def test_without_an_adapter_there_is_nothing_to_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], train: str, warned: bool
) -> None:
    """A recipe's other stages go on; where nothing is frozen there is nothing to say."""
    stage = Pretrain(**(LORA | {"train": train, "tokens": 128}))
    place = Place(CPU, hardware=Hardware(frozen="nf4"))
    log, model = MetricsLog(tmp_path / "metrics.jsonl", "adapt"), random_llama()
    pretrain(
        model, random_course(steps=1), stage, (56, 62), place, tmp_path, log, lambda s, t: None
    )
    assert not any(isinstance(module, CodedLinear) for module in model.modules())
    assert ("nf4 is for layers under an adapter" in capsys.readouterr().err) == warned
