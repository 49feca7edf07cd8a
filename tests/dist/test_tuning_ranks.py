"""Two ranks tune what one tunes: SFT, reward model, DPO, PPO with four models, GRPO with LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gloo_ranks import launch
from tuned_stages import STAGES, run_all, small_base

from langraft.core.metrics import read_metrics

NAMES = ["sft", *(f"align-{stage['method']}" for stage in STAGES)]
NEAR = 2e-4


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def alone(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    run_all(out, small)
    return out


def logged(out: Path, stage: str, key: str) -> list[Any]:
    return [r[key] for r in read_metrics(out / "metrics.jsonl") if r["stage"] == stage and key in r]


def results(out: Path, stage: str) -> dict[str, Any]:
    return dict(json.loads((out / stage / "manifest.json").read_text())["results"])


@pytest.mark.parametrize("offload", ["none", "all"])
def test_two_ranks_tune_what_one_tunes(
    small: Path, alone: Path, tmp_path: Path, offload: str
) -> None:
    """With `all`, weights, moments and the frozen models lie on the host between uses."""
    said = launch(2, tmp_path, run_all, small, offload)
    assert [code for code, _ in said] == [0, 0], said
    for name in NAMES:
        losses = logged(alone, name, "loss")
        assert len(losses) >= 2
        assert logged(tmp_path, name, "loss") == pytest.approx(losses, abs=NEAR), name
    for name in ("align-ppo", "align-grpo"):
        for key in ("reward", "answer_tokens", "kl", "same_language", "ended"):
            wanted = logged(alone, name, key)
            assert logged(tmp_path, name, key) == pytest.approx(wanted, abs=NEAR), (name, key)
    for key in ("sft", "align-dpo"):
        wanted = results(alone, key)
        found = results(tmp_path, key)
        assert found["samples"] == wanted["samples"]
        (after,) = logged(alone, key, "answers")
        assert logged(tmp_path, key, "answers")[0] == pytest.approx(after, abs=NEAR)
    reward = [results(out, "align-reward")["held_out"]["gap"] for out in (alone, tmp_path)]
    assert reward[1] == pytest.approx(reward[0], abs=1e-3)
