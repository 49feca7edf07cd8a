"""Instruction tuning, reward model and DPO as stages of a run, on a tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vllm_double
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from tuned_stages import small_base

from langraft.core.errors import BadInput
from langraft.core.metrics import read_metrics
from langraft.data.conversations import Message
from langraft.data.preferences import Preference
from langraft.pipeline import Run, go
from langraft.pipeline.align import preferred
from langraft.pipeline.checkpoint import export_checkpoint
from langraft.pipeline.tuned import hindsight
from langraft.recipe import Recipe
from langraft.train.experience import Experience


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("tuned"))


def recipe(small: Path, **sections: Any) -> Recipe:
    tree = {"name": "small", "base": str(small / "base"), "hardware": {"precision": "fp32"}}
    return Recipe.model_validate(tree | sections)


def sft(**changes: Any) -> dict[str, Any]:
    return {
        "data": ["talks.json"],
        "template": "llama2-zh",
        "row_tokens": 96,
        "batch_tokens": 192,
        "lr": 3e-3,
        "holdout": 0.2,
        "epochs": 2,
        **changes,
    }


def done(out: Path, small: Path, stage: str, **sections: Any) -> dict[str, Any]:
    go(Run(recipe(small, **sections), small, out))
    return dict(json.loads((out / stage / "manifest.json").read_text())["results"])


def test_sft_teaches_and_the_folder_speaks_for_itself(small: Path, tmp_path: Path) -> None:
    found = done(tmp_path, small, "sft", sft=sft(prompts=["第一个"]))
    loss = found["held_out_loss"]
    assert loss["after"] < loss["before"] - 0.5
    assert found["data"][0]["conversations"] == 48 and found["samples"][0]["prompt"] == "第一个"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "sft")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "第一个"}], tokenize=False)
    assert text == (
        "<s>[INST] <<SYS>>\nYou are a helpful assistant. 你是一个乐于助人的助手。\n<</SYS>>\n\n"
        "第一个 [/INST]"
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "sft")
    ends = model.generation_config.eos_token_id
    assert tokenizer.eos_token_id in (ends if isinstance(ends, list) else [ends])


@pytest.mark.parametrize("train", ["lora", "embeddings"])
def test_other_ways_of_learning(small: Path, tmp_path: Path, train: str) -> None:
    lora = {"rank": 4, "alpha": 8, "rank_stabilised": True, "embeddings": True}
    found = done(tmp_path, small, "sft", sft=sft(train=train, lora=lora, lr=1e-2))
    assert found["held_out_loss"]["after"] < found["held_out_loss"]["before"] - 0.5
    assert (tmp_path / "sft" / "adapter").is_dir() == (train == "lora")


def test_a_curriculum_learns_level_after_level(small: Path, tmp_path: Path) -> None:
    found = done(tmp_path, small, "sft", sft=sft(curriculum="easy-to-hard", replay=0.25, epochs=1))
    assert list(found["mix"]) == ["level-1", "level-2", "level-3"]
    records = read_metrics(tmp_path / "metrics.jsonl")
    levels = [min(r["loss_by"]) for r in records if "loss_by" in r]
    assert levels == sorted(levels) and len(set(levels)) == 3


def test_difficulty_of_a_field(small: Path, tmp_path: Path) -> None:
    settings = sft(curriculum="easy-to-hard", difficulty="grade", levels=2, epochs=1)
    assert done(tmp_path / "a", small, "sft", sft=settings)["steps"] > 2
    with pytest.raises(BadInput, match=r"sft.difficulty: 'rank' .*they have grade"):
        done(tmp_path / "b", small, "sft", sft=settings | {"difficulty": "rank"})


def at_noon(killed: Run, out: Path) -> None:
    """A checkpoint of a stage that is not done becomes a chat model that anybody can load."""
    step = export_checkpoint(killed, "sft", out)
    assert step >= 1 and (out / "chat_template.jinja").exists()
    learnt, base = (AutoModelForCausalLM.from_pretrained(p) for p in (out, killed.base))
    assert not torch.equal(learnt.model.norm.weight, base.model.norm.weight)
    with pytest.raises(BadInput, match=r"--stage adapt: .* train a language model are: sft"):
        export_checkpoint(killed, "adapt", out)


def test_a_killed_stage_goes_on_to_the_same_bytes(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sft(curriculum="easy-to-hard", levels=2, epochs=1, evaluate=4)
    settings["checkpoint_seconds"] = 1e-9
    done(tmp_path / "straight", small, "sft", sft=settings)
    from langraft.pipeline import sft as room

    calls = []

    def dies(*args: Any) -> float:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 1.0

    with monkeypatch.context() as patch:
        patch.setattr(room, "loss_of", dies)
        with pytest.raises(KeyboardInterrupt):
            done(tmp_path / "killed", small, "sft", sft=settings)
    assert (tmp_path / "killed" / "sft.partial").is_dir()
    at_noon(Run(recipe(small, sft=settings), small, tmp_path / "killed"), tmp_path / "noon")
    done(tmp_path / "killed", small, "sft", sft=settings)
    weights = [
        (tmp_path / n / "sft/model.safetensors").read_bytes() for n in ("straight", "killed")
    ]
    assert weights[0] == weights[1]


def given_scores(line: str) -> list[float]:
    """The two numbers of "preferred +0.12, other -0.34"."""
    return [float(part.split()[1]) for part in line.split(", ")]


def test_a_reward_model_loads_without_langraft(small: Path, tmp_path: Path) -> None:
    stage = {"method": "reward", "data": "pairs.jsonl", "template": "ziya-reward", "pairs": 8}
    stage |= {"epochs": 6, "lr": 1e-2, "holdout": 0.3, "longest": 64, "centre": 0.01}
    found = done(tmp_path, small, "align-reward", align=[stage])
    held = found["held_out"]
    assert held["accuracy"] == 1.0 and held["length_accuracy"] == 1.0
    assert held["accuracy_chosen_shorter"] is None and held["calibration_error"] < 0.5
    assert len(found["samples"]) == 3
    for sample in found["samples"]:
        assert "\nPreferred: " in sample["prompt"] and "\nOther: " in sample["prompt"]
        before, after = (given_scores(sample[side]) for side in ("before", "after"))
        assert after[0] - after[1] > max(0.5, before[0] - before[1])
    folder = tmp_path / "align-reward"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": "第一3"}, {"role": "assistant", "content": answer}],
            tokenize=False,
        )
        for answer in ("好的好的", "不")
    ]
    assert texts[1] == "<s>Human:第一3\n\nAssistant:不</s>"
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        good, bad = model(inputs["input_ids"], inputs["attention_mask"]).logits[:, 0].tolist()
    assert good > bad + 0.5


@pytest.mark.parametrize("train", ["full", "lora"])
def test_dpo_prefers_what_is_chosen(small: Path, tmp_path: Path, train: str) -> None:
    stage = {"method": "dpo", "data": "pairs.jsonl", "template": "ziya", "pairs": 8, "epochs": 3}
    stage |= {"lr": 3e-3, "longest": 64, "holdout": 0.3, "train": train, "evaluate": 2}
    found = done(tmp_path, small, "align-dpo", align=[stage])
    assert found["held_out"]["accuracy"] == 1.0 and found["held_out"]["gap"] > 0.1
    assert found["loss_first"] == pytest.approx(np.log(2), abs=1e-4)
    records = [r for r in read_metrics(tmp_path / "metrics.jsonl") if "accuracy" in r]
    assert abs(records[0]["margin"]) < 1e-4 and records[-1]["accuracy"] == 1.0
    assert not (tmp_path / "align-dpo" / "reference.npz").exists()


def test_preferred_by_hand() -> None:
    own = np.array([-1.0, -3.0, -5.0, -2.0], np.float32)
    reference = np.array([-2.0, -1.0, -5.0, -4.0], np.float32)
    assert preferred(own, reference, 0.5) == {
        "accuracy": 0.5,
        "gap": round(0.5 * ((1 + 2) + (0 - 2)) / 2, 4),
        "likelier": 0.5,
        "likelier_before": 0.0,
    }


def test_hindsight_tells_what_is_said_of_both_answers() -> None:
    pair = Preference((Message("user", "问"),), "好", "坏")
    turns = [m.content for m in hindsight(pair, False, ("说好话", "说坏话"))]
    assert turns == ["问\n说坏话", "坏", "说好话", "好"]


@pytest.mark.parametrize("reads", ["preferred", "hindsight"])
def test_preferences_as_conversations(small: Path, tmp_path: Path, reads: str) -> None:
    data = [{"paths": ["pairs.jsonl"], "reads": reads}]
    found = done(tmp_path, small, "sft", sft=sft(data=data, epochs=1, row_tokens=192))
    turns = {"preferred": 2, "hindsight": 4}[reads] * 40
    assert found["data"][0]["turns"] == turns


REFUSED = [
    ({"data": ["none*"]}, r"none\*: names no file"),
    ({"template": "qwen2"}, r"sft.template: template 'qwen2': known are"),
    ({"row_tokens": 48, "batch_tokens": 48}, "there is nothing to learn from: 48 records"),
    ({"data": ["bad.json"]}, r"sft.data: 1 of 2 records .*bad.json:2: turn 2 \(assistant\) is"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_bad_input_is_named(
    small: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    bad = [{"instruction": "a", "output": "b"}, {"instruction": "a", "output": ""}]
    (small / "bad.json").write_text(json.dumps(bad))
    with pytest.raises(BadInput, match=message):
        done(tmp_path, small, "sft", sft=sft(**changes))


def test_unfit_records_are_listed(small: Path, tmp_path: Path) -> None:
    talks = json.loads((small / "talks.json").read_text())
    (small / "some.json").write_text(json.dumps([*talks, {"instruction": "a", "output": ""}]))
    done(tmp_path, small, "sft", sft=sft(data=["some.json"], epochs=1))
    (line,) = (tmp_path / "sft" / "unfit.jsonl").read_text().splitlines()
    assert json.loads(line)["line"] == 49


def onpolicy(method: str, **changes: Any) -> dict[str, Any]:
    return {
        "method": method,
        "data": ["talks.json"],
        "template": "ziya",
        "iterations": 8,
        "questions": 4,
        "group": 4,
        "new_tokens": 8,
        "lr": 3e-3,
        "rules": {"repetition": 1.0},
        **changes,
    }


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_answers_that_are_rewarded_become_likelier(
    small: Path, tmp_path: Path, method: str
) -> None:
    """The rule rewards short answers."""
    settings = onpolicy(method, rules={"short": 1.0}, iterations=16, passes=2, kl=0.0, lr=2e-2)
    from langraft.data import rules

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rules.RULES, "short", lambda reply: 1.0 - len(reply.answer) / 40)  # type: ignore[arg-type]
        found = done(tmp_path, small, f"align-{method}", align=[settings])
    assert found["reward"]["last"] > found["reward"]["first"] + 0.05
    assert found["kl"]["first"] < found["kl"]["last"]
    records = [r for r in read_metrics(tmp_path / "metrics.jsonl") if "reward" in r]
    assert records[0]["kl"] < 1e-3 and records[0]["clipped"] == 0
    assert len(records) == found["steps"] == 32


def test_a_dear_divergence_holds_the_model_back(small: Path, tmp_path: Path) -> None:
    free, held = (
        done(tmp_path / str(kl), small, "align-grpo", align=[onpolicy("grpo", kl=kl)])
        for kl in (0.0, 10.0)
    )
    assert held["kl"]["last"] < 0.5 * free["kl"]["last"]


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_killed_in_the_middle_of_a_round(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    settings = onpolicy(method, iterations=3, passes=2, checkpoint_seconds=1e-9)
    settings |= {"kl_target": 0.01, "horizon": 10} if method == "ppo" else {}
    done(tmp_path / "straight", small, f"align-{method}", align=[settings])
    from langraft.train.rollouts import RolloutFeed

    real = RolloutFeed.batches

    def dies(self: Any, position: int, *args: Any) -> Any:
        if position == 3:
            raise KeyboardInterrupt
        return real(self, position, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RolloutFeed, "batches", dies)
        with pytest.raises(KeyboardInterrupt):
            done(tmp_path / "killed", small, f"align-{method}", align=[settings])
    done(tmp_path / "killed", small, f"align-{method}", align=[settings])
    files = [
        (tmp_path / run / f"align-{method}/model.safetensors").read_bytes()
        for run in ("straight", "killed")
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("reward", [None, "reward"])
def test_a_critic_of_its_own_learns_what_answers_are_worth(
    small: Path, tmp_path: Path, reward: str | None
) -> None:
    model = {"method": "reward", "data": "pairs.jsonl", "template": "ziya", "pairs": 8}
    settings = onpolicy(
        "ppo", rules={"repetition": 5.0}, reward=reward, critic="own", value_clip=10.0
    )
    settings |= {"lr": 3e-3, "value_weight": 1.0, "iterations": 12, "passes": 3}
    done(tmp_path, small, "align-ppo", align=[model | {"lr": 1e-2}, settings])
    rounds = sorted((tmp_path / "align-ppo" / "experience").iterdir())
    errors = []
    for place in (rounds[0], rounds[-1]):
        one = Experience.load(place)
        errors.append(float(np.abs(one.returns - one.values).mean()))
    assert errors[1] < 0.7 * errors[0]
    names = load_file(tmp_path / "align-ppo" / "model.safetensors").keys()
    assert not [name for name in names if "critic" in name or "score" in name]


def test_a_policy_with_an_adapter_needs_no_second_model(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langraft.pipeline import onpolicy as room

    monkeypatch.setattr(room, "apart", None)  # a model of its own
    lora = {"rank": 4, "alpha": 8, "dropout": 0.0, "embeddings": True}
    settings = onpolicy("grpo", train="lora", lora=lora, lr=2e-2, prompts=["第一个"], evaluate=2)
    found = done(tmp_path, small, "align-grpo", align=[settings])
    records = [r for r in read_metrics(tmp_path / "metrics.jsonl") if "reward" in r]
    assert records[0]["kl"] < 1e-6 < found["kl"]["last"]
    assert (tmp_path / "align-grpo" / "adapter").is_dir()
    probes = [r["answers"] for r in read_metrics(tmp_path / "metrics.jsonl") if "answers" in r]
    assert [set(probe) for probe in probes] == [set(found["answers"]["before"])] * 2
    assert found["answers"]["before"]["kl"] == 0.0 and found["answers"]["after"] == probes[-1]


@pytest.mark.slow  # another process imports transformers
def test_vllm_answers_with_the_merged_policy(small: Path, tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {vllm_double.__file__} "$@"\n')
    program.chmod(0o755)
    lora = {"rank": 4, "alpha": 8, "dropout": 0.0, "embeddings": False}
    settings = onpolicy("ppo", vllm=str(program), iterations=2, train="lora", lora=lora, lr=0.3)
    settings |= {"schedule": "constant", "warmup": 0.0, "questions": 8, "group": 1}
    found = done(tmp_path / "run", small, "align-ppo", align=[settings])
    assert found["steps"] == 2 and not (tmp_path / "run" / "align-ppo" / "policy").exists()
    rounds = sorted((tmp_path / "run" / "align-ppo" / "experience").iterdir())
    rows = [[one.samples[n].ids.tolist() for n in range(8)] for one in map(Experience.load, rounds)]
    first, second = ({str(row[:-8]): row[-8:] for row in every} for every in rows)
    assert len(first) == 8 and first.keys() == second.keys()
    assert all(first[question] != second[question] for question in first)
    asked = (tmp_path / "run" / "align-ppo" / "asked.log").read_text().splitlines()
    assert asked.count("/collective_rpc") == 1 and asked.count("/v1/completions") == 16
    assert not any("sleep" in path for path in asked)  # vLLM refuses to, on a processor


def test_ppo_with_a_reward_model(small: Path, tmp_path: Path) -> None:
    reward = {"method": "reward", "data": "pairs.jsonl", "template": "ziya", "pairs": 8}
    reward |= {"lr": 1e-2, "longest": 64}
    settings = onpolicy("ppo", rules={}, reward="reward", iterations=2)
    found = done(tmp_path, small, "align-ppo", align=[reward, settings])
    assert found["steps"] == 2 and found["reward"]["first"] != 0
    with pytest.raises(BadInput, match="no reward stage 'other' before it; known: reward"):
        done(tmp_path / "b", small, "align-ppo", align=[reward, settings | {"reward": "other"}])
    with pytest.raises(BadInput, match=r"align \(ppo\).rules: rule 'kind': known are"):
        done(tmp_path / "c", small, "align-ppo", align=[onpolicy("ppo", rules={"kind": 1})])
