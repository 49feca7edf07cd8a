"""Adapters, blocks, and what a trained stage writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from random_llama import CPU, HERE, random_course, random_llama, weights
from torch.utils._python_dispatch import TorchDispatchMode

from langraft.core.errors import BadInput
from langraft.core.metrics import MetricsLog, read_metrics
from langraft.data.pack import assemble
from langraft.recipe import PRESETS, Hardware, Lora, Pretrain
from langraft.train import attention
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device
from langraft.train.pretrain import pretrain, steps
from langraft.train.shard import blocks, spare_activations
from langraft.train.stage import Outcome, Place
from langraft.train.trainable import learnt_weights, lora_scaling, select

STAGE: dict[str, Any] = {
    "name": "adapt",
    "tokens": 768,
    "epochs": 100,
    "lr": 5e-3,
    "batch_tokens": 128,
    "row_tokens": 16,
}


def _train(
    folder: Path, tied: bool = False, hardware: Hardware | None = None, **changes: Any
) -> Any:
    model, stage = random_llama(tied=tied), Pretrain(**(STAGE | changes))
    folder.mkdir(exist_ok=True)
    log = MetricsLog(folder / "metrics.jsonl", "adapt")
    place = dataclasses.replace(HERE, hardware=hardware or Hardware())
    course = random_course(steps=steps(stage))
    done = pretrain(model, course, stage, (56, 62), place, folder, log, lambda s, t: None)
    return model, done, stage


def _plain(done: Outcome, stage: Pretrain, tied: bool = False) -> torch.nn.Module:
    """The plain model with the learnt weights laid over it, as a stage writes it."""
    model = random_llama(tied=tied)
    scaling = lora_scaling(stage.lora)
    model.load_state_dict(learnt_weights(done.weights, model.state_dict(), scaling), strict=False)
    return model


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("stabilised", [False, True])
def test_a_merged_adapter_is_the_adapted_model(
    tmp_path: Path, tied: bool, stabilised: bool
) -> None:
    lora = {"rank": 4, "alpha": 8, "dropout": 0.0, "rank_stabilised": stabilised}
    model, done, stage = _train(tmp_path, tied, train="lora", lora=lora)
    merged = _plain(done, stage, tied)
    ids = torch.arange(20)[None]
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        adapted, plain, before = (m(ids).logits for m in (model, merged, random_llama(tied=tied)))
    torch.testing.assert_close(plain, adapted, atol=2e-5, rtol=1e-5)
    assert float((plain - before).abs().max()) > 0.05
    if tied:
        assert merged.lm_head.weight is merged.model.embed_tokens.weight


def test_an_adapter_without_embeddings_leaves_them(tmp_path: Path) -> None:
    lora = {"rank": 4, "alpha": 8, "embeddings": False}
    _, done, stage = _train(tmp_path, train="lora", lora=lora)
    assert all(".lora_" in name for name in done.weights)
    assert len(done.weights) == 2 * 2 * 7
    after, before = weights(_plain(done, stage)), weights(random_llama())
    same = {name for name in before if torch.equal(after[name], before[name])}
    assert same == {n for n in before if "norm" in n or "embed" in n or "lm_head" in n}


def test_only_the_named_blocks_learn(tmp_path: Path) -> None:
    model, _, _ = _train(tmp_path, train="layers", layers=[-1])
    before = weights(random_llama())
    changed = {n for n, value in weights(model).items() if not torch.equal(value, before[n])}
    assert changed == {n for n in before if n.startswith("model.layers.1.")}


def test_a_block_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"layers: 2 is not one of the model's 2 blocks"):
        select(random_llama(), "layers", layers=[2])


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lora.targets: the model has no layer called 'c_attn'"):
        _train(tmp_path, train="lora", lora={"targets": ["c_attn"]})


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_a_stage(preset: str) -> None:
    stage = Pretrain(name="x", tokens=5_000_000, preset=preset)
    for key, value in PRESETS[preset].items():
        wanted = Lora(**value) if key == "lora" else value
        assert getattr(stage, key) == wanted


def test_what_is_given_overrides_a_preset() -> None:
    stage = Pretrain(name="x", tokens=1, preset="chinese-llama", lr=1e-5, lora={"rank": 8})
    assert (stage.lr, stage.lora.rank, stage.lora.alpha, stage.train) == (1e-5, 8, 128.0, "lora")
    assert Pretrain(name="x", tokens=1, train="all").train == "full"


@pytest.mark.parametrize("how", ["selective", "full"])
def test_recomputing_activations_changes_nothing_but_memory(tmp_path: Path, how: str) -> None:
    whole, _, _ = _train(tmp_path / "none")
    spared, _, _ = _train(tmp_path / how, hardware=Hardware(checkpointing=how))
    assert all(torch.equal(value, weights(spared)[n]) for n, value in weights(whole).items())


class Products(TorchDispatchMode):
    """Counts matrix products and square roots (one a norm)."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = {"mm": 0, "rsqrt": 0}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.counts:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def test_selective_repeats_norms_and_full_repeats_products_too() -> None:
    """Two blocks of seven products and two norms; all runs share what the backward pass needs."""
    held, batch = {}, assemble([[torch.arange(16).numpy()]])
    for how in ("none", "selective", "full"):
        model = random_llama()
        model.set_attn_implementation(attention.register())
        spare_activations(model, how)
        with Products() as seen:
            packed_hidden(model, batch, CPU).sum().backward()
        held[how] = seen.counts
        assert len(blocks(model)) == 2
    assert held["selective"]["mm"] == held["none"]["mm"]
    assert held["selective"]["rsqrt"] == held["none"]["rsqrt"] + 2 * 2
    assert held["full"]["mm"] > held["none"]["mm"] + 2 * 5
    assert held["full"]["rsqrt"] == held["none"]["rsqrt"] + 2 * 2


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_compiled_blocks_give_the_same_losses(tmp_path: Path) -> None:
    found = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        _train(folder, hardware=Hardware(compile=compiled))
        found.append([r["loss"] for r in read_metrics(folder / "metrics.jsonl")])
    assert found[1] == pytest.approx(found[0], abs=2e-5)


def test_noise_on_the_embeddings_is_drawn_anew_and_the_same_on_a_resume(tmp_path: Path) -> None:
    plain, noisy, again = (
        _train(tmp_path / name, neftune=alpha)[0]
        for name, alpha in (("plain", 0.0), ("noisy", 5.0), ("again", 5.0))
    )
    assert all(torch.equal(v, weights(again)[n]) for n, v in weights(noisy).items())
    assert not torch.equal(plain.lm_head.weight, noisy.lm_head.weight)


def test_frozen_weights_in_bfloat16_change_no_product(tmp_path: Path) -> None:
    """Under bfloat16 products a frozen weight is rounded anyway."""
    found = []
    for frozen in ("fp32", "bf16"):
        folder = tmp_path / frozen
        folder.mkdir()
        model, log = random_llama(), MetricsLog(folder / "metrics.jsonl", "adapt")
        place = Place(Device("cpu", bf16=True), hardware=Hardware(frozen=frozen))
        stage = Pretrain(**(STAGE | {"train": "lora", "lora": {"rank": 4, "dropout": 0.0}}))
        course = random_course(steps=steps(stage))
        pretrain(model, course, stage, (56, 62), place, folder, log, lambda s, t: None)
        weight = model.model.layers[0].self_attn.q_proj.base_layer.weight
        assert weight.dtype == (torch.bfloat16 if frozen == "bf16" else torch.float32)
        found.append([r["loss"] for r in read_metrics(folder / "metrics.jsonl")])
    assert found[0] == found[1]
    assert found[0][-1] < found[0][0]


def test_frozen_bfloat16_needs_bfloat16_products(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"hardware.frozen: bf16 needs hardware.precision bf16"):
        _train(tmp_path, hardware=Hardware(frozen="bf16"), train="lora")
