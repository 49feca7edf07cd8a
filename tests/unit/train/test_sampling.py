"""Our sampler against transformers' own, and what an answer depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_llama import CPU, random_llama

from langraft.train.sampling import OwnSampler

PROMPTS = [[5, 9, 3], [7], [2, 2, 8, 1, 6], [4, 11]]
END = 0


def test_greedy_answers_are_transformers_own() -> None:
    model = random_llama()
    found = OwnSampler(model, CPU, END, 12, temperature=0.0)(PROMPTS, [0] * 4)
    for prompt, answer in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        whole = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=END,
            pad_token_id=END,
        )
        assert answer == whole[0, len(prompt) :].tolist()


def test_an_answer_depends_on_its_prompt_and_seed_alone() -> None:
    model = random_llama()
    seeds = [11, 12, 13, 14]
    together = OwnSampler(model, CPU, END, 12, 1.0)(PROMPTS, seeds)
    in_twos = OwnSampler(model, CPU, END, 12, 1.0, at_once=2)(PROMPTS, seeds)
    alone = [
        OwnSampler(model, CPU, END, 12, 1.0)([p], [s])[0]
        for p, s in zip(PROMPTS, seeds, strict=True)
    ]
    assert together == in_twos == alone
    assert OwnSampler(model, CPU, END, 12, 1.0)(PROMPTS, [s + 1 for s in seeds]) != together


def test_an_answer_ends_with_the_end_token_or_at_the_limit() -> None:
    model = random_llama(vocab=12)  # the end is drawn soon
    found = OwnSampler(model, CPU, END, 20, 1.0)(PROMPTS[:1] * 64, range(64))
    lengths = {len(answer) for answer in found}
    assert all(answer.index(END) == len(answer) - 1 for answer in found if END in answer)
    assert all(END in answer or len(answer) == 20 for answer in found)
    assert len(lengths) > 3


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature: float) -> None:
    model = random_llama(vocab=16)
    found = OwnSampler(model, CPU, END, 1, temperature)(PROMPTS[:1] * 4000, range(4000))
    counts = np.bincount([answer[0] for answer in found], minlength=16) / 4000
    with torch.no_grad():
        logits = model(torch.tensor(PROMPTS[:1])).logits[0, -1]
    wanted = (logits / temperature).softmax(-1).numpy()
    assert np.abs(counts - wanted).max() < 4 * np.sqrt(0.25 / 4000)
