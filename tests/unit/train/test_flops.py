"""The operations that MFU counts, against torch's own counter."""

import numpy as np
import pytest
import torch
from random_llama import random_llama
from torch.utils.flop_counter import FlopCounterMode

from langraft.core.compute import peak_flops
from langraft.train.flops import shape_of

TOKENS = 24


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_costs_what_torch_counts(tied: bool) -> None:
    """torch's counter takes attention for whole; ours is causal, half of it."""
    model = random_llama(96, 32, 3, tied=tied)
    model.set_attn_implementation("eager")
    shape = shape_of(model, {name for name, _ in model.named_parameters()})
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.arange(TOKENS)[None]).logits.sum().backward()
    whole_attention = 12 * shape.attention * TOKENS**2
    ours = shape.flops(np.array([TOKENS]))
    assert ours == pytest.approx(counter.get_total_flops() - whole_attention / 2, rel=1e-12)


def test_what_does_not_learn_costs_a_third_less() -> None:
    """Frozen blocks keep forward and the gradient of activations."""
    shape = shape_of(random_llama(96, 32), {"lm_head.weight"})
    assert shape.learning == 96 * 32
    one = shape.flops(np.array([1]))
    assert one == 4 * shape.matmul + 2 * 96 * 32 + 6 * shape.attention


def test_peaks_are_found_by_the_drivers_name() -> None:
    """The PCIe card is another one than the SXM module whose name it begins with."""
    assert peak_flops("NVIDIA H100 PCIe", 1) == 756e12
    assert peak_flops("NVIDIA H100 80GB HBM3", 8) == 8 * 989e12
    assert peak_flops("NVIDIA GeForce RTX 4090", 1) == 165e12
    assert peak_flops("Some other card", 1) is None
