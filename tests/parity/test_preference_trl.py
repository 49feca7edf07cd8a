"""Our losses on pairs against TRL's own values and gradients (tests/golden/make_trl_losses.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_llama import CPU
from tiny_weights import PAIRS, fill, golden, gradients, tiny_config
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from langraft.data.encode import Encoded
from langraft.data.pairs import PairBatch, PairSet
from langraft.data.samples import lay
from langraft.train import attention
from langraft.train.preference import answer_logprobs, dpo_loss, reward_loss


def pairs(margins: list[float]) -> PairSet:
    samples = [
        Encoded(np.array(q + a), np.array([False] * len(q) + [True] * len(a)))
        for q, chosen, rejected in PAIRS
        for a in (chosen, rejected)
    ]
    ones = np.ones(len(PAIRS), np.float32)
    return PairSet(lay(samples), np.array(margins, np.float32), ones)


def batch(margins: list[float], reference: Any = None) -> PairBatch:
    return pairs(margins).batch(range(len(PAIRS)), reference)


def check(model: torch.nn.Module, loss: torch.Tensor, wanted: dict[str, Any]) -> None:
    (loss / len(PAIRS)).backward()
    assert loss.item() / len(PAIRS) == pytest.approx(wanted["loss"], abs=1e-5)
    found = gradients(model)
    assert found.keys() == wanted["gradients"].keys()
    for name, values in wanted["gradients"].items():
        assert found[name] == pytest.approx(values, abs=1e-5), name


@pytest.mark.parametrize("case", ["plain", "steep"])
def test_dpo(root: Path, case: str) -> None:
    wanted = golden(root)["dpo"][case]
    models = [fill(LlamaForCausalLM(tiny_config()), seed).eval() for seed in (1, 2)]
    for model in models:
        model.set_attn_implementation(attention.register())
    plain = batch([0.0] * len(PAIRS))
    with torch.no_grad():
        reference = answer_logprobs(models[1], plain, CPU).numpy()
    ready = batch([0.0] * len(PAIRS), reference)
    loss = dpo_loss(models[0], ready, CPU, beta=wanted["options"]["beta"])
    check(models[0], loss, wanted)


@pytest.mark.parametrize("case", ["plain", "centred"])
def test_reward(root: Path, case: str) -> None:
    wanted = golden(root)["reward"][case]
    config = tiny_config()
    config.num_labels = 1
    model = fill(LlamaForSequenceClassification(config), 3).eval()
    model.set_attn_implementation(attention.register())
    centre = wanted["options"].get("center_rewards_coefficient", 0.0)
    loss = reward_loss(model, batch(wanted["margins"]), CPU, margin=1.0, centre=centre)
    check(model, loss, wanted)
