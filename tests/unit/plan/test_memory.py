"""Bytes a token keeps: counted on real blocks."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.autograd.graph import saved_tensors_hooks
from transformers import LlamaConfig, LlamaForCausalLM

from langraft.plan.memory import (
    CHUNK,
    CODED,
    KEPT,
    Setting,
    activations,
    kept_in_block,
    logits,
    training_memory,
    update,
)
from langraft.plan.shape import KNOWN, Shape
from langraft.plan.stages import setting_of
from langraft.recipe import Hardware, Pretrain
from langraft.train.frozen import CodedLinear
from langraft.train.loss import CHUNK_ROWS

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZES = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 6}
SIZES |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64}


def kept_bytes(inside: str, products: str, layers: int, tokens: int) -> int:
    """What automatic differentiation keeps of a model with `layers` blocks, weights left out."""
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, num_hidden_layers=layers, attn_implementation="sdpa")
    model = LlamaForCausalLM(config)
    if products == "gathered":
        model = model.to(torch.bfloat16)
    if inside != "all":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("embed" in name)
    if inside.startswith("lora"):
        dropout = 0.05 if "dropout" in inside else 0.0
        inject_adapter_in_model(
            LoraConfig(r=8, target_modules=TARGETS, lora_dropout=dropout), model
        )
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen.setdefault(storage.data_ptr(), (storage.nbytes(), tensor))
        return tensor

    cast = torch.autocast("cpu", torch.bfloat16) if products == "autocast" else None
    with saved_tensors_hooks(keep, lambda kept: kept), cast or contextlib.nullcontext():
        model.model(torch.randint(0, 64, (1, tokens)))
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize(("inside", "products"), KEPT)
def test_kept_bytes_are_those_of_a_real_block(inside: str, products: str) -> None:
    """Differences between three and two blocks and between two lengths: casts of weights and the
    model's ends drop out.
    """

    def block(tokens: int) -> int:
        return kept_bytes(inside, products, 3, tokens) - kept_bytes(inside, products, 2, tokens)

    counted = (block(96) - block(64)) / 32
    shape = Shape.of({**SIZES, "model_type": "llama", "num_hidden_layers": 2}, "tiny")
    if "dropout" in inside:  # a mask is a whole number on a CPU, a byte on a GPU
        inputs = sum(shape.linear(target)[0] for target in TARGETS)
        counted -= inputs * (3 if products == "fp32" else 1)
    assert kept_in_block(shape, inside, products, 8) == pytest.approx(counted, rel=0.02)


def llama(**changes: object) -> tuple[Shape, Setting]:
    shape = Shape.of(KNOWN["meta-llama/Llama-2-7b-hf"], "llama")
    settings = {
        "learning": shape.parameters - shape.embeddings,
        "matrices": 2,
        "inside": "all",
        "rank": 0,
        "micro_tokens": 4_096,
        "accumulates": True,
    }
    return shape, Setting(**(settings | changes))  # type: ignore[arg-type]


def test_a_7b_by_hand() -> None:
    """Weights 4 + 2 bytes (blocks), gradients 4, moments 8; 6.74B parameters, 6.48B in blocks."""
    shape, setting = llama(checkpointing="full")
    found = training_memory(shape, setting)
    assert found.gradients == pytest.approx(4 * 6.738e9, rel=1e-3)
    assert found.moments == pytest.approx(8 * 6.738e9, rel=1e-3)
    assert found.weights == pytest.approx(4 * 6.738e9 + 2 * 6.476e9, rel=1e-3)
    assert found.total / 1e9 == pytest.approx(133, rel=0.02)  # needs an H200, as everybody finds


def test_sharding_divides_what_is_stored() -> None:
    shape, setting = llama(shards=8, checkpointing="full")
    eighth = training_memory(shape, setting)
    alone = training_memory(*llama(checkpointing="full"))
    assert eighth.moments == alone.moments / 8
    assert eighth.total < 40 * 2**30 < alone.total


def test_recomputing_keeps_one_block_and_the_stream() -> None:
    shape, setting = llama(checkpointing="full")
    kept, again = activations(shape, setting)
    assert again == kept_in_block(shape, "all", "autocast", 0) * 4_096
    assert kept == 32 * 4 * 4_096 * 4_096 + 12 * 4_096 * 4_096
    selective = activations(*llama(checkpointing="selective"))[0]
    assert kept < selective < activations(*llama())[0]


def test_blocks_that_are_computed_again_cast_their_weights_again() -> None:
    """At the end of the backward pass one block's copies are left, at its beginning all."""
    shape, setting = llama(checkpointing="full", accumulates=False)
    found = training_memory(shape, setting)
    assert found.gradients == 4 * shape.parameters
    assert found.weights == 4 * shape.parameters + 2 * shape.block_matrices
    kept = training_memory(*llama(micro_tokens=65_536, accumulates=False))
    assert kept.gradients == 0
    assert kept.weights == 4 * shape.parameters + 2 * shape.layers * shape.block_matrices


def test_chunked_logits_are_small_and_smaller_states_as_well() -> None:
    shape = llama()[0]
    plain = 4_096 * shape.rows * 10
    assert logits(shape, llama(matrices=0)[1]) < plain / 2
    small = training_memory(*llama(states="8bit")).moments
    assert small / training_memory(*llama()).moments == pytest.approx(0.254, rel=0.01)


@pytest.mark.parametrize("how", ["int8", "nf4"])
def test_coded_weights_take_the_bytes_that_the_engine_gives_them(how: str) -> None:
    """A small card holds a 7B under an adapter; the codes are whole on every device."""
    layer = CodedLinear(torch.nn.Linear(128, 192, bias=False), how)
    held = sum(buffer.numel() * buffer.element_size() for buffer in layer.buffers())
    assert held == CODED[how] * 128 * 192
    lora = {"learning": 40_000_000, "matrices": 0, "inside": "lora", "rank": 16, "shards": 1}
    shape, setting = llama(**lora, frozen=how, coded=6_476_005_376)
    found = training_memory(shape, setting).weights
    rest = shape.parameters - setting.coded
    assert found == 4 * 40_000_000 + CODED[how] * setting.coded + 2 * rest
    spread = dataclasses.replace(setting, shards=8)
    less = (4 * 40_000_000 + 2 * rest) * 7 / 8
    gathered = 2 * (2 * shape.block + shape.embeddings)
    assert training_memory(shape, spread).weights == pytest.approx(found - less + gathered)


def test_a_recipe_codes_the_layers_under_its_adapter() -> None:
    shape = Shape.of(KNOWN["meta-llama/Llama-2-7b-hf"], "llama")
    stage = Pretrain(name="x", tokens=1, train="lora", lora={"targets": ["q_proj", "down_proj"]})
    setting = setting_of(stage, shape, Hardware(frozen="nf4"), 1, 1)
    assert setting.coded == 32 * (4_096 * 4_096 + 11_008 * 4_096)
    assert setting_of(stage, shape, Hardware(frozen="bf16"), 1, 1).coded == 0


def test_what_a_chunk_of_logits_takes() -> None:
    """Half precision: the gradient of the matrix in 32 bit, its copy in 16, and whichever is more:
    256 rows twice in 32 bit, or once in 16 beside a product like the matrix.
    """
    assert CHUNK == CHUNK_ROWS
    shape, setting = llama()
    chunk, states = 256 * shape.rows, 3 * 2 * shape.hidden * setting.micro_tokens
    device = 6 * shape.matrix + max(8 * chunk, 2 * chunk + 2 * shape.matrix)
    assert logits(shape, setting) == device + states
    whole = logits(*llama(precision="fp32"))
    assert whole == 4 * shape.matrix + 8 * chunk + 2 * states


def test_small_moments_are_made_large_slice_by_slice() -> None:
    shape, setting = llama(states="8bit")
    assert update(shape, llama()[1]) == 0
    assert update(shape, setting) == 21 * 2**24  # the matrix is larger than a slice
    small = Shape(64, 2, 4, 4, 16, 128, 1_000)
    assert update(small, setting) == 21 * 64_000
