"""The meter's actions, and a run in which the controller keeps a budget that a fixed mix breaks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from random_llama import CPU, HERE, course_over, random_llama
from transformers import LlamaForCausalLM

from langraft.core.errors import BadInput, RunFailed
from langraft.core.metrics import MetricsLog
from langraft.data.course import Course
from langraft.data.pack import assemble
from langraft.data.shards import Shard
from langraft.pipeline.forgetting import Meter
from langraft.recipe import Forgetting, Pretrain
from langraft.train.objectives import next_token_loss
from langraft.train.pretrain import pretrain, steps

ROW, ROWS = 16, 20
BUDGET = 0.25
MIX = {"zh": 0.95, "en": 0.05}


def _meter(**rules: object) -> Meter:
    return Meter(Forgetting(**rules), {"en": 1.0}, ("en",), ("en",))  # type: ignore[arg-type]


def _course(mix: Mapping[str, float] = MIX, steps: int = 60) -> Course:
    shards = {name: [_language(name, 400, seed=1)] for name in mix}
    return course_over(shards, dict(mix), rows=ROWS, row_tokens=ROW, steps=steps, epochs=1_000)


def _language(name: str, documents: int, seed: int) -> Shard:
    """Walks over 32 ids (English the lower, Chinese the upper) where an id nearly always has the
    same successor.
    """
    generator = np.random.default_rng(seed)
    first = 0 if name == "en" else 32
    follows = np.random.default_rng(first).permutation(32)
    walks = np.empty((documents, ROW), dtype=np.uint32)
    state = generator.integers(0, 32, documents)
    for place in range(ROW):
        walks[:, place] = first + state
        jump = generator.random(documents) < 0.1
        state = np.where(jump, generator.integers(0, 32, documents), follows[state])
    return Shard(walks.reshape(-1), np.arange(documents + 1, dtype=np.int64) * ROW)


def test_below_the_line_nothing_happens() -> None:
    course = _course()
    factor, record = _meter(on_breach="raise-replay").judge({"en": 1.008}, course)
    assert (factor, record) == (1.0, {"rise": 0.008, "source": "en"})
    assert course.shares == MIX


def test_replay_is_raised_before_the_budget_is_used_up() -> None:
    course, meter = _course(), _meter(on_breach="raise-replay", replay_step=0.3, max_replay=0.5)
    factor, record = meter.judge({"en": 1.0125}, course)
    assert (factor, record["replay"]) == (1.0, 0.35)
    assert course.shares == pytest.approx({"zh": 0.65, "en": 0.35})
    meter.judge({"en": 1.0125}, course)
    meter.judge({"en": 1.0125}, course)
    assert course.shares == pytest.approx({"zh": 0.5, "en": 0.5})


def test_the_rate_is_lowered_or_the_run_stopped() -> None:
    course = _course()
    factor, _ = _meter(on_breach="lower-rate").judge({"en": 1.0125}, course)
    assert factor == 0.5
    assert _meter(on_breach="stop").judge({"en": 1.025}, course)[0] == 1.0
    with pytest.raises(RunFailed, match=r"en is \+4.0% above the base \(limit \+3.0%\)"):
        _meter(on_breach="stop").judge({"en": 1.04}, course)
    assert course.shares == MIX


def test_replay_needs_an_old_language_in_the_mix() -> None:
    course = _course({"zh": 1.0})
    with pytest.raises(BadInput, match="raise-replay needs an old language in the stage's mix"):
        _meter(on_breach="raise-replay").check(course)
    _meter(on_breach="warn").check(course)


def _nats(model: LlamaForCausalLM, name: str) -> float:
    """Nats a token on a hold-out of a language."""
    held = _language(name, 60, seed=2)
    batch = assemble([[row] for row in held.tokens.reshape(60, ROW).astype(np.int64)])
    with torch.no_grad():
        return float(next_token_loss(model, batch, CPU)) / batch.counted


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> LlamaForCausalLM:
    """A model that has learnt English alone."""
    folder = tmp_path_factory.mktemp("english")
    model = random_llama()
    stage = Pretrain(
        name="base", tokens=120 * ROW * ROWS, lr=5e-3, batch_tokens=ROW * ROWS, row_tokens=ROW
    )
    course = _course({"en": 1.0}, steps(stage))
    log = MetricsLog(folder / "metrics.jsonl", "base")
    pretrain(model, course, stage, (64, 64), HERE, folder, log, lambda s, t: None)
    return model


def _teach(
    english: LlamaForCausalLM, folder: Path, rules: Forgetting
) -> tuple[list[float], float, float]:
    """Chinese for 60 steps; the worst and the last rise of English, and Chinese at the end."""
    folder.mkdir()
    model = copy.deepcopy(english)
    meter = Meter(rules, {"en": _nats(model, "en")}, ("en",), ("en",))
    stage = Pretrain(
        name="zh",
        tokens=60 * ROW * ROWS,
        lr=2e-3,
        batch_tokens=ROW * ROWS,
        row_tokens=ROW,
        evaluate=30,
        warmup=0.2,
        schedule="constant",
    )
    course = _course(MIX, steps(stage))
    log = MetricsLog(folder / "metrics.jsonl", "zh")
    rises: list[float] = []

    def evaluate(step: int, tokens: int) -> float:
        nats = {"en": _nats(model, "en")}
        rises.append(nats["en"] / meter.base["en"] - 1)
        return meter.judge(nats, course)[0]

    done = pretrain(model, course, stage, (64, 64), HERE, folder, log, evaluate)
    return rises, _nats(model, "zh"), done.numbers["mix"]["en"]


@pytest.mark.parametrize(
    ("action", "act_at", "chinese"), [("raise-replay", 0.12, 2.0), ("lower-rate", 0.2, 5.0)]
)
def test_the_controller_holds_english_where_a_fixed_mix_does_not(
    english: LlamaForCausalLM,
    fixed: tuple[list[float], float, float],
    tmp_path: Path,
    action: str,
    act_at: float,
    chinese: float,
) -> None:
    """A budget of 25 %: the fixed mix takes 70 %. Replay costs less Chinese than a lower rate."""
    rules = Forgetting(
        max_rise=BUDGET,
        on_breach=action,  # type: ignore[arg-type]
        act_at=act_at,
        replay_step=0.25,
        max_replay=0.75,
        rate_factor=0.6,
    )
    held, learnt, share = _teach(english, tmp_path / action, rules)
    rises, _, fixed_share = fixed
    assert max(rises) > 2 * BUDGET
    assert max(held) <= BUDGET
    assert learnt < chinese < _nats(english, "zh")
    assert fixed_share == 0.05
    assert share > 0.3 if action == "raise-replay" else share == 0.05


@pytest.fixture(scope="module")
def fixed(
    english: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[float], float, float]:
    """What the fixed mix does."""
    folder = tmp_path_factory.mktemp("mix") / "fixed"
    return _teach(english, folder, Forgetting(max_rise=BUDGET))
