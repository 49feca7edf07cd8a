"""The policy without its adapter is the model that it began as; the critic learns apart from it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from random_llama import CPU, HERE, random_llama

from langraft.data.encode import Encoded
from langraft.data.samples import Samples, batch_of, lay
from langraft.recipe import Lora
from langraft.train.critic import add_critic, add_value_head, policy_weights, values_by
from langraft.train.objectives import packed_hidden
from langraft.train.reference import adapter_off, apart
from langraft.train.reward import with_head
from langraft.train.scoring import logprobs_by, scoring, token_scores
from langraft.train.shard import blocks
from langraft.train.trainable import add_lora, select


def samples() -> Samples:
    generator = np.random.default_rng(0)
    sizes = (5, 9, 4, 7)
    return lay([Encoded(generator.integers(1, 64, n), np.arange(n) >= 2) for n in sizes])


@pytest.mark.parametrize("tied", [True, False])
def test_adapter_off_is_the_starting_model(tied: bool) -> None:
    policy = random_llama(tied=tied)
    wanted = apart(random_llama(tied=tied), HERE)(samples())
    reference = adapter_off(policy, HERE)
    add_lora(policy, Lora(rank=4, alpha=8), seed=1)
    select(policy, "lora", embeddings=True)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape)
    moved = token_scores(policy, samples(), CPU, logprobs_by(policy, CPU))[0]
    assert np.abs(moved - wanted).max() > 0.1
    learning = {n for n, p in policy.named_parameters() if p.requires_grad}
    assert reference(samples()) == pytest.approx(wanted, abs=1e-5)
    assert {n for n, p in policy.named_parameters() if p.requires_grad} == learning
    again = token_scores(policy, samples(), CPU, logprobs_by(policy, CPU))[0]
    assert np.array_equal(again, moved)


def test_a_critic_of_its_own_says_what_the_reward_model_said() -> None:
    policy, judge = random_llama(seed=1), with_head(random_llama(seed=2), pad=0, seed=4)
    batch = batch_of([samples()[n] for n in range(4)])
    with scoring(judge, CPU):
        hidden = packed_hidden(judge, batch, CPU)
        wanted = (hidden @ judge.score.weight.T)[:, 0]
    add_critic(policy, judge)
    with scoring(policy, CPU):
        found = values_by(policy, batch, packed_hidden(policy, batch, CPU), CPU)
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-5)
    assert len(blocks(policy)) == 4
    chosen = select(policy, "layers", layers=[-1])
    heads = {n.partition("layers")[0] for n in chosen}
    assert heads == {"model.", "critic.model.", "critic.score.weight"}


def test_a_shared_head_begins_as_the_reward_models() -> None:
    policy = random_llama()
    start = torch.randn(1, 32)
    add_value_head(policy, start)
    batch = batch_of([samples()[n] for n in range(4)])
    with scoring(policy, CPU):
        hidden = packed_hidden(policy, batch, CPU)
        found = values_by(policy, batch, hidden, CPU)
    assert found.tolist() == pytest.approx((hidden @ start.T)[:, 0].tolist(), abs=1e-5)


def test_offloading_is_asked_of_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.fsdp import CPUOffloadPolicy

    from langraft.train import shard
    from langraft.train.ranks import Ranks

    asked: list[object] = []
    monkeypatch.setattr(shard, "fully_shard", lambda module, **how: asked.append(how))
    ranks = Ranks(mesh=SimpleNamespace(device_type="cpu"))  # type: ignore[arg-type]
    settings = {"bf16": False, "checkpointing": "none", "compiled": False}
    shard.parallelise(random_llama(), ranks, offload=True, **settings)  # type: ignore[arg-type]
    assert len(asked) == 3
    assert all(isinstance(how["offload_policy"], CPUOffloadPolicy) for how in asked)  # type: ignore[index]
    asked.clear()
    shard.parallelise(random_llama(), ranks, **settings)  # type: ignore[arg-type]
    assert not any("offload_policy" in how for how in asked)  # type: ignore[operator]


def test_what_belongs_to_the_critic_stays_behind() -> None:
    names = ("model.layers.0.mlp.up_proj.weight", "critic.model.norm.weight", "score.weight")
    kept = policy_weights({name: torch.zeros(1) for name in names})
    assert list(kept) == ["model.layers.0.mlp.up_proj.weight"]
