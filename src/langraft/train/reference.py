"""Models that are asked and do not learn: the one that a stage began with, and a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langraft.data.samples import Samples
from langraft.train.scoring import Floats, logprobs_by, token_scores
from langraft.train.shard import parallelise
from langraft.train.stage import Place
from langraft.train.trainable import adapted_layers

Reference = Callable[[Samples], Floats]  # the log-probability of every answer token, flat


def settle(model: PreTrainedModel, place: Place) -> None:
    """Put a model that does not learn where the stage trains, in place: sharded like the policy,
    with `hardware.offload` on the host, from where a block comes when it is needed.
    """
    model.requires_grad_(False)
    if place.ranks.mesh is None:
        model.to(place.device.name)
        return
    if place.device.bf16:
        model.to(torch.bfloat16)
    parallelise(
        model,
        place.ranks,
        bf16=place.device.bf16,
        checkpointing="none",
        compiled=False,
        offload=place.hardware.offload != "none",
    )


def apart(model: PreTrainedModel, place: Place) -> Reference:
    """A reference that is a model of its own."""
    settle(model, place)
    read = logprobs_by(model, place.device)

    def ask(samples: Samples) -> Floats:
        return token_scores(
            model, samples, place.device, read, ranks=place.ranks, name="reference"
        )[0]

    return ask


def adapter_off(policy: PreTrainedModel, place: Place) -> Reference:
    """A reference that is the policy without its adapter, and with the embedding matrices that it
    has now, before it learns: no second model is in memory.
    """
    matrices: list[Tensor] = [
        getter().weight.detach().clone()
        for getter in (policy.get_input_embeddings, policy.get_output_embeddings)
    ]
    if policy.get_output_embeddings().weight is policy.get_input_embeddings().weight:
        matrices[1] = matrices[0]
    read = logprobs_by(policy, place.device, (matrices[0], matrices[1]))

    def ask(samples: Samples) -> Floats:
        with without_adapter(policy):
            return token_scores(
                policy, samples, place.device, read, ranks=place.ranks, name="reference"
            )[0]

    return ask


@contextmanager
def without_adapter(model: PreTrainedModel) -> Iterator[None]:
    """The model as it was before `add_lora`, as far as adapted layers go."""
    layers = list(adapted_layers(model).values())
    learning = {name: p.requires_grad for name, p in model.named_parameters()}
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(learning[name])
