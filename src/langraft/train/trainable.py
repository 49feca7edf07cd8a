"""What learns: new rows, embeddings, some blocks, an adapter, or everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.recipe import Lora

Train = Literal["new-rows", "embeddings", "full", "lora", "layers"]
WRAPPED = ".base_layer."  # what peft puts between a layer's name and its weight's


def embedding_matrices(model: PreTrainedModel) -> list[nn.Parameter]:
    """The input matrix, and the output matrix where there is one and it is not the same one."""
    head = model.get_output_embeddings()
    if head is None:  # a reward model has a scalar head
        return [model.get_input_embeddings().weight]
    matrices = [model.get_input_embeddings().weight, head.weight]
    return matrices[:1] if matrices[0] is matrices[1] else matrices


def select(
    model: PreTrainedModel, train: Train, *, layers: Sequence[int] = (), embeddings: bool = True
) -> dict[str, nn.Parameter]:
    """The parameters that `train` lets learn, by name; all others are frozen.

    Args:
        layers: the blocks, with `train` "layers"; negative numbers count from the top.
        embeddings: whether the matrices learn beside an adapter that `add_lora` put in.

    Raises:
        BadInput: the model has no block of that number.
    """
    matrices = {id(matrix) for matrix in embedding_matrices(model)}
    named = dict(model.named_parameters())
    if train == "full":
        chosen = set(named)
    elif train == "lora":
        chosen = {name for name in named if ".lora_" in name}
    elif train == "layers":
        numbers = _numbers(model, layers)
        starts = tuple(f"{at}model.layers.{n}." for n in numbers for at in ("", "critic."))
        chosen = {name for name in named if name.startswith(starts)}
    else:
        chosen = set()
    if train in ("new-rows", "embeddings") or (train == "lora" and embeddings):
        chosen |= {name for name, parameter in named.items() if id(parameter) in matrices}
    # a new head always learns
    chosen |= {name for name in named if name.startswith(("score.", "critic.score."))}
    for name, parameter in named.items():
        parameter.requires_grad_(name in chosen)
    return {name: parameter for name, parameter in named.items() if name in chosen}


def _numbers(model: PreTrainedModel, layers: Sequence[int]) -> list[int]:
    count = len(model.base_model.layers)
    for number in layers:
        if not -count <= number < count:
            raise BadInput(
                f"pretrain layers: {number} is not one of the model's {count} blocks "
                f"(0 to {count - 1}, or -{count} to -1)"
            )
    return [number % count for number in layers]


def add_lora(model: PreTrainedModel, lora: Lora, seed: int) -> None:
    """Put an adapter into every target layer of `model`, in place; it starts as no change.

    Raises:
        BadInput: no layer of the model has a target's name.
    """
    config = LoraConfig(**peft_settings(lora), bias="none")
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    missing = [target for target in lora.targets if target not in names]
    if missing:
        raise BadInput(f"pretrain lora.targets: the model has no layer called {missing[0]!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)


def adapted_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """The layers that hold an adapter, by their name in the plain model."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}


def learnt_weights(
    learnt: Mapping[str, Tensor], before: Mapping[str, Tensor], scaling: float
) -> dict[str, Tensor]:
    """Weights of the plain model after training, by name.

    Args:
        learnt: what was trained, adapters as `LAYER.lora_A.default.weight` (rank, in) and `lora_B`
            (out, rank).
        before: the plain model's weights before the training.
        scaling: what the product B A is multiplied with.

    Returns:
        every trained weight; W + scaling B A, computed in float32, for layers with an adapter.
    """
    found = {}
    for name, value in learnt.items():
        if ".lora_A." in name:
            layer = name.partition(".lora_A.")[0]
            product = learnt[name.replace(".lora_A.", ".lora_B.")].float() @ value.float()
            weight = before[f"{layer}.weight"]
            found[f"{layer}.weight"] = (weight.float() + scaling * product).to(weight.dtype)
        elif ".lora_B." not in name:
            found[name.replace(WRAPPED, ".")] = value
    return found


def lora_scaling(lora: Lora) -> float:
    """What B A is multiplied with: alpha / rank, or alpha / sqrt(rank) (arXiv 2312.03732)."""
    return lora.alpha / (lora.rank**0.5 if lora.rank_stabilised else lora.rank)


def peft_settings(lora: Lora) -> dict[str, Any]:
    """The adapter's part of peft's configuration file."""
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(lora.targets),
        "use_rslora": lora.rank_stabilised,
    }
