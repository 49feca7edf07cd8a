"""Losses on pairs worked by hand, and what is said of a reward model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from random_llama import CPU, random_llama

from langraft.data.encode import Encoded
from langraft.data.pairs import PairSet
from langraft.data.samples import lay
from langraft.train.preference import bradley_terry, dpo
from langraft.train.reward import calibration_error, judged, with_head
from langraft.train.scoring import (
    difficulty,
    groups,
    rewards,
    sample_logprobs,
    stages_of,
    with_replay,
)


def test_bradley_terry_by_hand() -> None:
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0])
    found = bradley_terry(chosen, rejected).tolist()
    assert found == pytest.approx([math.log(1 + math.exp(-1)), math.log(2)])
    margin = bradley_terry(chosen, rejected, torch.tensor([3.0, 0.0])).tolist()
    assert margin == pytest.approx([math.log(1 + math.exp(2)), math.log(2)])
    centred = bradley_terry(chosen, rejected, centre=0.1).tolist()
    assert centred == pytest.approx([math.log(1 + math.exp(-1)) + 0.9, math.log(2)])


def test_dpo_by_hand() -> None:
    policy, reference = torch.tensor([-3.0]), torch.tensor([-4.0])
    h = 0.5 * ((-3.0 + 6.0) - (-4.0 + 5.0))  # 1.0
    found = dpo(policy, torch.tensor([-6.0]), reference, torch.tensor([-5.0]), 0.5)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-h)))
    smooth = dpo(policy, torch.tensor([-6.0]), reference, torch.tensor([-5.0]), 0.5, 0.25)
    wanted = 0.75 * math.log(1 + math.exp(-h)) + 0.25 * math.log(1 + math.exp(h))
    assert smooth.item() == pytest.approx(wanted)


def test_at_the_start_dpo_is_log_two() -> None:
    same = torch.randn(5)
    assert dpo(same, same, same, same, 0.1).tolist() == pytest.approx([math.log(2)] * 5)


def test_calibration_by_hand() -> None:
    gap = np.array([math.log(3)] * 4)  # confidence 0.75, all right
    assert calibration_error(gap) == pytest.approx(0.25)
    gap[0] = -gap[0]  # three of four right
    assert calibration_error(gap) == pytest.approx(0.0)


def test_length_bias_is_seen() -> None:
    lengths = np.array([[9, 3], [8, 2], [2, 7], [5, 1]])
    rewards = lengths.astype(float)
    found = judged(rewards, lengths)
    assert found["accuracy"] == found["length_accuracy"] == 0.75
    assert found["length_correlation"] == 1.0
    assert (found["accuracy_chosen_longer"], found["accuracy_chosen_shorter"]) == (1.0, 0.0)
    assert judged(np.zeros((4, 2)), lengths)["accuracy"] == 0.5


def _pairs() -> PairSet:
    generator = np.random.default_rng(0)
    samples = [
        Encoded(generator.integers(1, 64, n), np.arange(n) >= 2) for n in (5, 9, 4, 7, 11, 6)
    ]
    return PairSet(lay(samples), np.zeros(3, np.float32), np.ones(3, np.float32))


def test_rewards_are_what_transformers_reads_from_the_saved_model(tmp_path: object) -> None:
    from pathlib import Path

    from transformers import AutoModelForSequenceClassification

    folder = Path(str(tmp_path))
    model, pairs = with_head(random_llama(), pad=0, seed=4), _pairs()
    found = rewards(model, pairs, CPU)
    model.set_attn_implementation("sdpa")
    model.save_pretrained(folder)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    rows = [pairs.samples[n].ids.tolist() for n in range(6)]
    padded = torch.tensor([[*row, *[0] * (11 - len(row))] for row in rows])
    with torch.no_grad():
        theirs = loaded(padded, attention_mask=(padded != 0).long()).logits[:, 0]
    assert found.flatten().tolist() == pytest.approx(theirs.tolist(), abs=1e-5)
    assert found.std() > 0.01


def test_a_new_head_learns_beside_an_adapter() -> None:
    from langraft.train.trainable import select

    model = with_head(random_llama(), pad=0, seed=4)
    assert set(select(model, "layers", layers=[1])) >= {"score.weight"}
    assert set(select(model, "embeddings")) == {"score.weight", "model.embed_tokens.weight"}


def test_difficulty_is_the_loss_of_the_answer() -> None:
    model, samples = random_llama(), _pairs().samples
    total, counts = sample_logprobs(model, samples, CPU, "x")
    assert counts.tolist() == [3, 7, 2, 5, 9, 4]
    model.set_attn_implementation("sdpa")
    for n in range(len(samples)):
        ids = torch.tensor(samples[n].ids)[None]
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
        wanted = logprobs.gather(-1, ids[0, 1:, None])[1:].sum().item()
        assert total[n] == pytest.approx(wanted, abs=1e-3)
    assert difficulty(model, samples, "loss", CPU) == pytest.approx(-total / counts)
    assert difficulty(model, samples, "length", CPU).tolist() == [5, 9, 4, 7, 11, 6]
    assert (difficulty(model, samples, "ifd", CPU) > 0).all()


def test_levels_go_from_easy_to_hard_and_replay_earlier_ones() -> None:
    hardness = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])
    levels = stages_of(hardness, 3, 0.0, seed=1)
    assert [sorted(level.tolist()) for level in levels] == [[1, 3], [2, 4], [0, 5]]
    replayed = stages_of(hardness, 3, 0.5, seed=1)
    assert [len(level) for level in replayed] == [2, 3, 3]
    assert replayed[1][-1] in (1, 3) and replayed[2][-1] in (1, 2, 3, 4)
    everything = with_replay([np.array([0, 1]), np.array([2])], 9.0, seed=1)
    assert sorted(everything[1].tolist()) == [0, 1, 2]


def test_groups_hold_so_many_tokens() -> None:
    assert groups(np.array([3, 4, 9, 1, 1]), 8) == [[0, 1], [2], [3, 4]]
