"""The four models of PPO in a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langraft.plan.devices import LINKS, find_device
from langraft.plan.feedback import held
from langraft.plan.recipe import base_shape, plan_recipe
from langraft.plan.scale import Cluster
from langraft.plan.stages import Machine
from langraft.recipe import Recipe

GIB = 2**30
PPO = {
    "method": "ppo",
    "data": ["q.json"],
    "reward": "reward",
    "critic": "own",
    "questions": 64,
    "minibatches": 4,
    "micro_rows": 1,
    "new_tokens": 512,
    "longest": 512,
    "answers_at_once": 8,
}
TREE: dict[str, Any] = {
    "name": "ziya",
    "base": "huggyllama/llama-13b",
    "sft": {"data": ["a.json"], "row_tokens": 1024, "batch_tokens": 8192, "micro_rows": 1},
    "align": [{"method": "reward", "data": ["p.json"], "micro_rows": 1, "longest": 1024}, PPO],
}


def machine() -> Machine:
    cluster = Cluster(8, 8, LINKS["nvlink-a800"], LINKS["ib-hdr"])
    return Machine(find_device("a100-40g"), cluster, None)


def plan(offload: str, **ppo: Any) -> dict[str, Any]:
    hardware = {"checkpointing": "full", "offload": offload}
    tree = TREE | {"hardware": hardware, "align": [TREE["align"][0], PPO | ppo]}
    return plan_recipe(Recipe.model_validate(tree), Path(), machine())


def test_ziyas_ppo_fits_eight_cards_of_40_gb_with_offloading() -> None:
    plain, away = plan("none")["feedback"][1], plan("all")["feedback"][1]
    assert not plain["fits"] and away["fits"]
    names = [one["model"] for one in away["models"]]
    assert names == ["policy", "critic", "reference", "reward", "cache beyond activations"]
    parameters = base_shape("huggyllama/llama-13b", Path()).parameters
    # weights, gradients and two moments of both that learn; bfloat16 of both that do not
    assert away["host"] == pytest.approx((2 * 16 + 2 * 2) * parameters)
    moved = plain["total"] - away["total"]
    assert 0.8 * away["host"] / 8 < moved * 1.06 < 1.2 * away["host"] / 8


def test_frozen_models_alone_go_to_the_host() -> None:
    plain, away = plan("none")["feedback"][1], plan("frozen")["feedback"][1]
    frozen = 2 * 2 * base_shape("huggyllama/llama-13b", Path()).parameters / 8
    assert plain["total"] - away["total"] == pytest.approx(frozen)


def test_a_policy_with_an_adapter_is_its_own_reference() -> None:
    with_adapter = Recipe.model_validate(
        TREE | {"align": [TREE["align"][0], PPO | {"train": "lora", "critic": "shared"}]}
    )
    from langraft.plan.stages import growth

    shape = growth(with_adapter, base_shape(with_adapter.base, Path())).grown
    models = held(with_adapter.align[1], shape, with_adapter.hardware, machine())
    assert [one.model for one in models] == ["policy", "reward", "cache beyond activations"]
