"""Merged adapters against peft's `merge_and_unload` and against the unmerged forward pass."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from random_adapter import ATTENTION, LINEAR, logits, peft_merged, trained_adapter
from random_llama import random_llama
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from langraft.checkpoint.adapter import LowRank
from langraft.checkpoint.folder import load_model, save_model
from langraft.checkpoint.info import inspect_checkpoint
from langraft.checkpoint.merge import low_rank_rows, merge_adapters
from langraft.checkpoint.stream import in_memory
from langraft.core.errors import BadInput

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": LINEAR},
    "rslora": {"target_modules": ATTENTION, "use_rslora": True},
    "dora": {"target_modules": LINEAR, "use_dora": True},
    "dora on embeddings": {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True},
    "lora on embeddings": {"target_modules": ["embed_tokens", "lm_head", "v_proj"]},
    "patterns": {
        "target_modules": ATTENTION,
        "rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 3},
        "alpha_pattern": {"k_proj": 32},
    },
    "saved matrices": {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens", "lm_head"]},
    "saved norms": {"target_modules": ["down_proj"], "modules_to_save": ["norm"]},
    "token rows": {"target_modules": ATTENTION, "trainable_token_indices": [3, 60, 17]},
}


def _merge(base: PreTrainedModel, folder: Path, *adapters: Path) -> Path:
    save_model(base, folder / "base")
    out = folder / "merged"
    merge_adapters(folder / "base", adapters, out)
    return out


def _same(merged: Path, wanted: dict[str, torch.Tensor]) -> None:
    found = load_file(merged / "model.safetensors")
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert (found[name] - tensor).abs().max() <= 1e-6, name


def _moved(merged: Path, before: dict[str, torch.Tensor], name: str) -> float:
    """How far the merge moved a tensor that was there before."""
    return float((load_file(merged / "model.safetensors")[name] - before[name]).abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_equals_peft(kind: str, tmp_path: Path) -> None:
    base = random_llama()
    tuned = trained_adapter(base, tmp_path / "adapter", **KINDS[kind])
    merged = _merge(base, tmp_path, tmp_path / "adapter")
    _same(merged, peft_merged(tuned))
    assert not torch.allclose(logits(load_model(merged)), logits(base), atol=1e-2)
    torch.testing.assert_close(logits(load_model(merged)), logits(tuned), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [{"bias": "all"}, {"lora_bias": True}])
def test_trained_biases(settings: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    base = Qwen2ForCausalLM(Qwen2Config(vocab_size=64, **shape, **heads)).eval()
    tuned = trained_adapter(
        base, tmp_path / "adapter", target_modules=["q_proj", "k_proj"], **settings
    )
    merged = _merge(base, tmp_path, tmp_path / "adapter")
    _same(merged, peft_merged(tuned))
    assert _moved(merged, base.state_dict(), "model.layers.1.self_attn.k_proj.bias") > 0.05
    assert _moved(merged, base.state_dict(), "model.layers.1.self_attn.k_proj.weight") > 0.01


@pytest.mark.parametrize("dora", [False, True])
def test_matrices_stored_the_other_way_round(dora: bool, tmp_path: Path) -> None:
    """GPT-2's Conv1D; its attention output is square, so only the setting tells."""
    torch.manual_seed(0)
    base = GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    )
    tuned = trained_adapter(
        base.eval(),
        tmp_path / "adapter",
        target_modules=["c_attn", "attn.c_proj"],
        fan_in_fan_out=True,
        use_dora=dora,
    )
    merged = _merge(base, tmp_path, tmp_path / "adapter")
    wanted = peft_merged(tuned)
    del wanted["lm_head.weight"]  # tied
    _same(merged, wanted)
    assert _moved(merged, base.state_dict(), "transformer.h.1.attn.c_proj.weight") > 0.01


def test_embeddings_of_a_larger_vocabulary(tmp_path: Path) -> None:
    """The Chinese-LLaMA way: the adapter of an extended model carries all its rows."""
    base = random_llama(vocab=64)
    tuned = trained_adapter(
        base,
        tmp_path / "adapter",
        rows=96,
        target_modules=LINEAR,
        modules_to_save=["embed_tokens", "lm_head"],
    )
    merged = _merge(base, tmp_path, tmp_path / "adapter")
    _same(merged, peft_merged(tuned))
    model = AutoModelForCausalLM.from_pretrained(merged)
    assert model.config.vocab_size == 96
    torch.testing.assert_close(logits(model, 96), logits(tuned, 96), atol=2e-5, rtol=1e-4)


def test_a_resized_embedding_under_a_low_rank_change(tmp_path: Path) -> None:
    """peft then saves the grown matrix itself beside its change."""
    base = random_llama(vocab=64)
    save_model(base, tmp_path / "named")
    base.name_or_path = str(tmp_path / "named")
    tuned = trained_adapter(
        base, tmp_path / "adapter", rows=80, target_modules=["embed_tokens", "lm_head", "q_proj"]
    )
    assert tuned.peft_config["default"].base_model_name_or_path == str(tmp_path / "named")
    _same(_merge(base, tmp_path, tmp_path / "adapter"), peft_merged(tuned))


def test_several_in_a_row(tmp_path: Path) -> None:
    """LLaMA-LoRA with a larger vocabulary, then Alpaca-LoRA trained on the merged model."""
    base = random_llama(vocab=64)
    save = {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens", "lm_head"]}
    first = trained_adapter(base, tmp_path / "first", rows=96, **save)
    between = random_llama(vocab=96)
    between.load_state_dict(peft_merged(first))
    second = trained_adapter(between, tmp_path / "second", rows=98, seed=2, **save)
    merged = _merge(base, tmp_path, tmp_path / "first", tmp_path / "second")
    _same(merged, peft_merged(second))
    for name in ("model.embed_tokens.weight", "model.layers.0.self_attn.v_proj.weight"):
        rows = len(between.state_dict()[name])
        after = load_file(merged / "model.safetensors")[name]
        assert (after[:rows] - between.state_dict()[name]).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["lora on embeddings", "saved matrices"])
def test_a_tied_model_trained_apart_is_untied(kind: str, tmp_path: Path) -> None:
    """peft's merge leaves the configuration tied, and a reload throws half of the training away."""
    base = random_llama(tied=True)
    tuned = trained_adapter(base, tmp_path / "adapter", **KINDS[kind])
    merged = load_model(_merge(base, tmp_path, tmp_path / "adapter"))
    assert merged.config.tie_word_embeddings is False
    torch.testing.assert_close(logits(merged), logits(tuned), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"trainable_token_indices": [3, 60]},
        {},
    ],
)
def test_a_tied_model_trained_as_one_stays_tied(settings: dict[str, Any], tmp_path: Path) -> None:
    base = random_llama(tied=True)
    tuned = trained_adapter(base, tmp_path / "adapter", target_modules=ATTENTION, **settings)
    folder = _merge(base, tmp_path, tmp_path / "adapter")
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    merged = load_model(folder)
    assert merged.config.tie_word_embeddings is True
    torch.testing.assert_close(logits(merged), logits(tuned), atol=2e-5, rtol=1e-4)


def test_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    """The float32 sum, rounded; peft differs from it by no more than its own extra rounding."""
    base = random_llama().to(torch.bfloat16)
    tuned = trained_adapter(base, tmp_path / "adapter", target_modules=ATTENTION)
    found = load_file(_merge(base, tmp_path, tmp_path / "adapter") / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    layer: Any = tuned.get_submodule(f"base_model.model.{name}")
    change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * 2.0
    exact = base.state_dict()[f"{name}.weight"].float() + change.float()
    assert torch.equal(found[f"{name}.weight"], exact.bfloat16())
    assert isinstance(tuned, PeftModel)
    for key, tensor in peft_merged(tuned).items():
        assert (found[key].float() - tensor.float()).abs().max() <= 2**-7 * tensor.abs().max()


def test_the_chinese_llama_way(material: Path, tmp_path: Path) -> None:
    """The real tokenizers: 32,000 ids under the base, 55,296 beside the adapter's rows."""
    tokenizers = material / "tokenizers"
    base = random_llama(vocab=32_000, hidden=16)
    tuned = trained_adapter(
        base,
        tmp_path / "adapter",
        rows=55_296,
        r=8,
        lora_alpha=16,
        target_modules=LINEAR,
        modules_to_save=["embed_tokens", "lm_head"],
    )
    save_model(base, tmp_path / "base")
    for source, folder in (("llama2", "base"), ("chinese-llama-2-55296", "adapter")):
        shutil.copyfile(
            tokenizers / source / "tokenizer.model", tmp_path / folder / "tokenizer.model"
        )
    merge_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "merged")
    _same(tmp_path / "merged", peft_merged(tuned))
    assert load_model(tmp_path / "merged").config.vocab_size == 55_296
    found = inspect_checkpoint(tmp_path / "merged", read=False)
    assert (found["rows"], found["tokenizer_ids"], found["wrong"]) == (55_296, 55_296, [])
    (tmp_path / "adapter" / "tokenizer.model").unlink()
    with pytest.raises(BadInput, match="has 32000 ids, but the adapter brings 55296 rows"):
        merge_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "without")


def test_a_bfloat16_adapter_is_added_in_float32_too(tmp_path: Path) -> None:
    """Against float64: what differs are ties that float32 sees on the other side."""
    generator = torch.Generator().manual_seed(3)
    name, rank = "model.layers.0.self_attn.q_proj", 64
    shapes = {"base": (512, 512), "a": (rank, 512), "b": (512, rank)}
    base, a, b = (
        torch.randn(shape, generator=generator).mul_(0.02).bfloat16() for shape in shapes.values()
    )
    old = in_memory(f"{name}.weight", base.clone())
    part = LowRank(in_memory("a", a), in_memory("b", b), scaling=0.37)
    held = [t.double() for t in (base, a, b)]
    exact = (held[0] + 0.37 * held[2] @ held[1]).bfloat16()
    merged = dataclasses.replace(old, rows=low_rank_rows(old, part, across=False)).whole()
    assert (merged != exact).float().mean() < 1e-4
    assert (merged.float() - exact.float()).abs().max() <= exact.float().abs().max() * 2**-8
    assert (merged != base).float().mean() > 0.5
