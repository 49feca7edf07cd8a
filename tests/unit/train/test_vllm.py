"""Rollouts by vLLM: the protocol against a program that speaks it over a real model folder."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import vllm_double
from random_llama import CPU, random_llama

from langraft.core.errors import BadInput, RunFailed
from langraft.train.sampling import OwnSampler
from langraft.train.vllm import VllmSampler

PROMPTS, SEEDS, END = [[5, 9, 3], [7], [2, 2, 8, 1, 6]], [1, 2, 3], 0


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "vllm"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {vllm_double.__file__} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def policy() -> Iterator[torch.nn.Module]:
    yield random_llama()


def sampler(program: str, policy: torch.nn.Module, folder: Path) -> VllmSampler:
    def write(out: Path) -> None:
        policy.save_pretrained(out)  # type: ignore[operator]

    return VllmSampler(program, folder, write, END, 8, 1.0, 64)


def test_vllm_answers_with_the_weights_of_the_moment(
    program: str, policy: torch.nn.Module, tmp_path: Path
) -> None:
    ask = sampler(program, policy, tmp_path / "policy")
    own = OwnSampler(policy, CPU, END, 8, temperature=0.0)  # type: ignore[arg-type]
    before = ask(PROMPTS, SEEDS)
    assert before == own(PROMPTS, SEEDS)
    with torch.no_grad():
        policy.lm_head.weight.mul_(-1)  # type: ignore[union-attr,operator]
    after = ask(PROMPTS, SEEDS)
    assert after == own(PROMPTS, SEEDS) != before
    asked = (tmp_path / "asked.log").read_text().splitlines()
    answers = ["/v1/completions"] * len(PROMPTS)
    anew = ["/wake_up?tags=weights", "/collective_rpc", "/wake_up?tags=kv_cache"]
    assert asked == [
        *answers,
        "/sleep?level=2",
        *anew,
        "/reset_prefix_cache",
        *answers,
        "/sleep?level=2",
    ]


def test_vllm_on_a_processor_never_sleeps(
    program: str, policy: torch.nn.Module, tmp_path: Path
) -> None:
    """It refuses to start where it is asked to."""
    ask = dataclasses.replace(sampler(program, policy, tmp_path / "policy"), sleeps=False)
    first, second = ask(PROMPTS, SEEDS), ask(PROMPTS, SEEDS)
    assert first == second
    asked = (tmp_path / "asked.log").read_text().splitlines()
    answers = ["/v1/completions"] * len(PROMPTS)
    assert asked == [*answers, "/collective_rpc", "/reset_prefix_cache", *answers]


def test_there_is_no_vllm(policy: torch.nn.Module, tmp_path: Path) -> None:
    ask = sampler("no-such-vllm", policy, tmp_path / "policy")
    with pytest.raises(BadInput, match="vllm: no-such-vllm: no such command; vLLM has an envir"):
        ask(PROMPTS, SEEDS)


def test_vllm_does_not_come_up(policy: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "vllm"
    path.write_text("#!/bin/sh\necho no kernel image is available; exit 3\n")
    path.chmod(0o755)
    with pytest.raises(RunFailed, match="did not come up; its last words: no kernel image is ava"):
        sampler(str(path), policy, tmp_path / "policy")(PROMPTS, SEEDS)


@pytest.mark.slow
def test_vllm_dies_in_the_middle(program: str, policy: torch.nn.Module, tmp_path: Path) -> None:
    ask = sampler(program, policy, tmp_path / "policy")
    ask(PROMPTS, SEEDS)
    assert ask._server is not None
    ask._server._process.kill()
    ask._server._process.wait()
    with pytest.raises(RunFailed, match="vLLM does not answer /wake_up"):
        ask(PROMPTS, SEEDS)
