"""Deltas as FastChat and Fengshenbang publish them, made here the way their scripts do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import state_of, tuned, write_model
from random_llama import random_llama
from transformers import LlamaForCausalLM

from langraft.checkpoint.folder import load_model
from langraft.checkpoint.published_delta import apply_published
from langraft.core.errors import BadInput

HALF = torch.float16


def _publish(
    folder: Path, base: LlamaForCausalLM, target: LlamaForCausalLM, *, verbatim: bool
) -> dict[str, torch.Tensor]:
    """Write target - base as pytorch_model.bin, with the old rotary buffers beside it.

    Returns:
        base + delta, rounded as the scripts' float16 sum is.
    """
    folder.mkdir()
    target.config.save_pretrained(folder)
    old, new = base.state_dict(), target.state_dict()
    delta, result = {}, {}
    for name, tensor in new.items():
        if verbatim and ("embed_tokens" in name or "lm_head.weight" in name):
            delta[name] = result[name] = tensor
        else:
            delta[name] = tensor - old[name]
            result[name] = old[name] + delta[name]
    delta["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    torch.save(delta, folder / "pytorch_model.bin")
    return result


@pytest.fixture
def base(tmp_path: Path) -> LlamaForCausalLM:
    model = random_llama().to(HALF)
    write_model(tmp_path / "base", model)
    return model


def test_fastchat(base: LlamaForCausalLM, tmp_path: Path) -> None:
    wanted = _publish(tmp_path / "delta", base, tuned(base), verbatim=False)
    note = apply_published(tmp_path / "base", tmp_path / "delta", tmp_path / "out")
    assert note["made"]["style"] == "fastchat"
    found = state_of(tmp_path / "out")
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    load_model(tmp_path / "out")


def test_ziya_with_a_larger_vocabulary(base: LlamaForCausalLM, tmp_path: Path) -> None:
    wanted = _publish(tmp_path / "delta", base, tuned(base, rows=80), verbatim=True)
    note = apply_published(tmp_path / "base", tmp_path / "delta", tmp_path / "out")
    assert note["made"]["style"] == "ziya"
    found = state_of(tmp_path / "out")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert load_model(tmp_path / "out").config.vocab_size == 80


def test_the_style_can_be_named(base: LlamaForCausalLM, tmp_path: Path) -> None:
    """Ziya's way with an unchanged vocabulary looks like FastChat's."""
    wanted = _publish(tmp_path / "delta", base, tuned(base), verbatim=True)
    apply_published(tmp_path / "base", tmp_path / "delta", tmp_path / "out", "ziya")
    found = state_of(tmp_path / "out")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("rows", [64, 80])
def test_applied_twice(rows: int, base: LlamaForCausalLM, tmp_path: Path) -> None:
    _publish(tmp_path / "delta", base, tuned(base, rows=rows), verbatim=rows != 64)
    apply_published(tmp_path / "base", tmp_path / "delta", tmp_path / "once")
    with pytest.raises(BadInput, match="once: this delta is applied already"):
        apply_published(tmp_path / "once", tmp_path / "delta", tmp_path / "twice")
    if rows != 64:  # a sum leaves no trace in the weights, verbatim rows do
        (tmp_path / "once" / "langraft.json").unlink()
        with pytest.raises(BadInput, match="its embedding is the delta's own"):
            apply_published(tmp_path / "once", tmp_path / "delta", tmp_path / "twice", "ziya")
    assert not list(tmp_path.glob("twice*"))


def test_another_model(base: LlamaForCausalLM, tmp_path: Path) -> None:
    delta, out = tmp_path / "delta", tmp_path / "out"

    def refused(message: str, style: str = "auto") -> None:
        with pytest.raises(BadInput, match=message):
            apply_published(tmp_path / "base", delta, out, style)
        assert not list(tmp_path.glob("out*"))

    _publish(delta, base, tuned(base, rows=80), verbatim=True)
    refused(r"'model\.embed_tokens\.weight' has shape \[80, 32\] and the base's \[64", "fastchat")
    state = torch.load(delta / "pytorch_model.bin", weights_only=True)
    torch.save({**state, "model.layers.2.x": torch.ones(2)}, delta / "pytorch_model.bin")
    refused(r"changes 'model\.layers\.2\.x', which the base does not have")
    del state["model.norm.weight"]
    torch.save(state, delta / "pytorch_model.bin")
    refused(r"lacks 'model\.norm\.weight', which the base has")
    state["model.layers.0.mlp.up_proj.weight"].view(-1)[0] = float("inf")
    torch.save(state, delta / "pytorch_model.bin")
    refused("holds NaN or infinite values")
