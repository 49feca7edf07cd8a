"""Sizes from a configuration are those of transformers' own models."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from langraft.core.errors import BadInput
from langraft.plan.compute import work
from langraft.plan.shape import KNOWN, Shape
from langraft.train.flops import shape_of

FAMILIES = (
    "smollm2-135m",
    "meta-llama/Llama-2-7b-hf",
    "meta-llama/Llama-3.2-1B",
    "mistralai/Mistral-7B-v0.1",
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen3-0.6B",
)


def without_weights(name: str) -> PreTrainedModel:
    config = dict(KNOWN[name])
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_those_of_the_model(name: str) -> None:
    model = without_weights(name)
    shape = Shape.of(KNOWN[name], name)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert shape.block == sum(p.numel() for p in model.model.layers[0].parameters())


@pytest.mark.parametrize("name", ["smollm2-135m", "meta-llama/Llama-2-7b-hf"])
@pytest.mark.parametrize("learns", ["everything", "embeddings"])
def test_operations_are_those_that_the_engine_counts(name: str, learns: str) -> None:
    import numpy as np

    model = without_weights(name)
    shape = Shape.of(KNOWN[name], name)
    names = {n for n, p in model.named_parameters() if p.ndim == 2}
    chosen = names if learns == "everything" else {n for n in names if "embed" in n or "head" in n}
    counted = shape_of(model, chosen).flops(np.array([1_000, 1_000, 1_000])) / 3_000
    matrices = shape.matmul if learns == "everything" else shape.matrix
    ours = work(shape, learning=matrices, mean_document=1_000)
    assert ours.useful == pytest.approx(counted, rel=1e-9)


def test_a_vocabulary_grows_both_matrices() -> None:
    base = Shape.of(KNOWN["meta-llama/Llama-2-7b-hf"], "llama")
    assert base.parameters == 6_738_415_616
    assert base.grown(69_104, untied=False).parameters - base.parameters == 2 * 37_104 * 4_096
    tied = Shape.of(KNOWN["smollm2-135m"], "smollm2")
    assert tied.grown(50_176, untied=True).embeddings == 2 * 50_176 * 576


def test_the_published_adapter() -> None:
    """Rank 64 on all linear layers of LLaMA-2-7B: 159.9 million weights."""
    shape = Shape.of(KNOWN["meta-llama/Llama-2-7b-hf"], "llama")
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert shape.lora(64, targets) == 159_907_840


def test_what_a_plan_does_not_know() -> None:
    with pytest.raises(BadInput, match=r"model_type 'mamba'.*llama, mistral"):
        Shape.of({"model_type": "mamba"}, "folder")
    with pytest.raises(BadInput, match=r"folder: config.json has no 'intermediate_size'"):
        Shape.of({k: v for k, v in KNOWN["smollm2-135m"].items() if "inter" not in k}, "folder")
    with pytest.raises(BadInput, match=r"lora.targets: 'w1' is not one of q_proj"):
        Shape.of(KNOWN["smollm2-135m"], "s").linear("w1")
