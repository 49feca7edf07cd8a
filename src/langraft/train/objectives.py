"""What a stage minimises. A row of `OBJECTIVES` makes a loss of a stage's settings; the step, the
sharding, the checkpoints and the guard know nothing of it.

A loss is called as `loss(model, batch, device, sums)` and returns one sum over whatever it counts
(labels, pairs, ...), never a mean: `batch.counted` says how many there were, and the engine divides
once by the count over all micro-batches and ranks. Into `sums`, when it is not None, it adds what
is to be logged (see `StepWork.sums`). How a new objective plugs in: docs/engine.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from langraft.data.pack import IGNORE, Batch
from langraft.recipe import Training
from langraft.train.loss import linear_cross_entropy
from langraft.train.precision import Device


class Micro(Protocol):
    """A micro-batch as the engine sees it; what else it holds is between the feed and the loss."""

    @property
    def input_ids(self) -> Any:
        """Every token that the model is fed with, shape (T,)."""
        ...

    @property
    def boundaries(self) -> NDArray[np.int32]:
        """Where each sequence of them starts, and T at the end; operations are counted by it."""
        ...

    @property
    def counted(self) -> int:
        """What the loss of this micro-batch sums over: labels, pairs, ..."""
        ...


class Packed(Micro, Protocol):
    """Sequences laid end to end, as `langraft.data.pack.Batch` has them."""

    @property
    def position_ids(self) -> Any:
        """0 at the start of each sequence, counting up, shape (T,)."""
        ...

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        ...


Loss = Callable[[PreTrainedModel, Any, Device, Tensor | None], Tensor]


def packed_hidden(
    model: PreTrainedModel, batch: Packed, device: Device, embedded: Tensor | None = None
) -> Tensor:
    """The last hidden states of a packed batch, shape (T, D); call it under the device's autocast.

    `embedded`, shape (T, D), takes the place of the input matrix's rows. The model must have been
    set to the `packed` attention (`langraft.train.attention`).
    """

    def on_device(array: Any) -> Tensor:
        return torch.as_tensor(array).to(device.name, non_blocking=True)

    boundaries = on_device(batch.boundaries)
    # the next power of two: an upper bound is enough, and a compiled block sees few of them
    longest = 1 << (batch.longest - 1).bit_length()
    ids = {"input_ids": on_device(batch.input_ids)[None]}
    return model.base_model(
        **(ids if embedded is None else {"inputs_embeds": embedded[None]}),
        position_ids=on_device(batch.position_ids)[None],
        use_cache=False,
        cu_seq_lens_q=boundaries,
        cu_seq_lens_k=boundaries,
        max_length_q=longest,
        max_length_k=longest,
    ).last_hidden_state[0]


def next_token_loss(
    model: PreTrainedModel,
    batch: Batch,
    device: Device,
    sums: Tensor | None = None,
    *,
    z_loss: float = 0.0,
    smoothing: float = 0.0,
    neftune: float = 0.0,
) -> Tensor:
    """The summed next-token loss of one packed micro-batch, in nats.

    Args:
        sums: the summed loss and the labels of each part of the mix are added to it, shape (2,
            parts), float64.
        z_loss, smoothing: see `linear_cross_entropy`.
        neftune: see NEFTune, arXiv 2310.05914.
    """
    weight = model.get_output_embeddings().weight
    with device.autocast():
        embedded = _noisy(model, batch, device, neftune) if neftune else None
        hidden = packed_hidden(model, batch, device, embedded)
        hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
        labels = torch.as_tensor(batch.labels).to(device.name, non_blocking=True)
        loss, _, logprobs = linear_cross_entropy(
            hidden, weight, labels, z_loss=z_loss, smoothing=smoothing
        )
    if sums is not None:
        part = torch.as_tensor(batch.part_of[batch.labels != IGNORE]).to(sums.device)
        sums[0].index_add_(0, part, -logprobs.double())
        sums[1].index_add_(0, part, torch.ones_like(logprobs, dtype=torch.float64))
    return loss


def _noisy(model: PreTrainedModel, batch: Batch, device: Device, alpha: float) -> Tensor:
    """Embeddings with uniform noise of alpha / sqrt(length of the document x width)."""
    embedded = model.get_input_embeddings()(torch.as_tensor(batch.input_ids).to(device.name))
    lengths = np.diff(batch.boundaries)
    size = alpha / np.sqrt(np.repeat(lengths, lengths) * embedded.shape[-1])
    noise = torch.empty_like(embedded).uniform_(-1, 1)
    return embedded + noise * torch.as_tensor(size).to(embedded)[:, None]


def _next_token(stage: Training) -> Loss:
    return partial(
        next_token_loss,
        z_loss=stage.z_loss,
        smoothing=stage.label_smoothing,
        neftune=stage.neftune,
    )


OBJECTIVES: Mapping[str, Callable[[Training], Loss]] = {"next-token": _next_token}
