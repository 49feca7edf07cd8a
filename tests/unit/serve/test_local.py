from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import TEMPLATE, save_model
from transformers import GenerationConfig

from langraft.core.errors import BadInput
from langraft.serve.engine import End, EngineError, Generation
from langraft.serve.local import TransformersEngine
from langraft.serve.sampling import choose, guided
from langraft.serve.text import load

PROMPT = "abc 中"


def answered(engine: TransformersEngine, wanted: Generation) -> tuple[str, End]:
    async def work() -> tuple[str, End]:
        await engine.start()
        pieces = [piece async for piece in engine.generate(wanted)]
        await engine.stop()
        end = pieces.pop()
        assert isinstance(end, End)
        return "".join(p.text for p in pieces if not isinstance(p, End)), end

    return asyncio.run(work())


@pytest.mark.parametrize(("temperature", "seed"), [(0.0, None), (1.0, 5)])
def test_a_draft_changes_nothing_but_the_work(
    model: Path, tmp_path: Path, temperature: float, seed: int | None
) -> None:
    wanted = Generation(PROMPT, 40, temperature=temperature, seed=seed)
    alone, end = answered(TransformersEngine(model, "tiny"), wanted)
    assert end.drafted == 0
    other = save_model(tmp_path / "other", TEMPLATE, seed=4)
    for draft in (model, other):
        drafted, end = answered(TransformersEngine(model, "tiny", draft=draft), wanted)
        assert drafted == alone
        assert end.drafted > 0
        if draft == model and temperature == 0:  # proposals beyond a stop are never judged
            assert end.accepted >= end.drafted - 4


def test_a_draft_with_another_vocabulary_is_refused(model: Path, merged_model: Path) -> None:
    engine = TransformersEngine(model, "tiny", draft=merged_model)
    with pytest.raises(BadInput, match="same tokenizer"):
        asyncio.run(engine.start())


def test_guidance_is_that_of_transformers(model: Path) -> None:
    """transformers' own classifier-free guidance with a negative prompt gives the same tokens."""
    loaded, tokenizer = load(model)
    wanted = Generation(PROMPT, 10, temperature=0, guidance=1.7, negative="xyz")
    ours, _ = answered(TransformersEngine(model, "tiny"), wanted)
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    negative = tokenizer("xyz", return_tensors="pt")["input_ids"]
    theirs = loaded.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        negative_prompt_ids=negative,
        negative_prompt_attention_mask=torch.ones_like(negative),
        generation_config=GenerationConfig(
            guidance_scale=1.7, max_new_tokens=10, eos_token_id=257, pad_token_id=257
        ),
    )
    assert ours == tokenizer.decode(theirs[0, ids.shape[1] :], skip_special_tokens=True)
    assert ours != answered(TransformersEngine(model, "tiny"), Generation(PROMPT, 10, 0.0))[0]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([0, 1, 3, 40]),
    st.sampled_from([1.0, 1.3]),
    st.sampled_from([1.0, 0.6]),
)
def test_sampling_draws_from_what_transformers_leaves(
    seed: int, top_k: int, penalty: float, top_p: float
) -> None:
    """Every drawn id is one that transformers' processors, in the same order, keep."""
    from transformers import LogitsProcessorList as Chain
    from transformers import (
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    torch.manual_seed(seed)
    logits, before = torch.randn(60) * 3, [1, 2, 3, 3]
    chain: Any = Chain([TemperatureLogitsWarper(0.7)])
    if penalty != 1:
        chain.insert(0, RepetitionPenaltyLogitsProcessor(penalty))
    if top_k:
        chain.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        chain.append(TopPLogitsWarper(top_p))
    left = chain(torch.tensor([before]), logits[None].clone())[0].softmax(-1)
    draw = torch.Generator().manual_seed(seed)
    wanted = Generation(
        "", 1, temperature=0.7, top_k=top_k, top_p=top_p, repetition_penalty=penalty
    )
    drawn = {choose(logits, wanted, before[:2], before[2:], draw) for _ in range(60)}
    assert drawn <= set(left.nonzero().flatten().tolist())
    if top_k == 1:
        assert len(drawn) == 1


def test_penalties_biases_and_min_p_by_hand() -> None:
    logits = torch.tensor([2.0, 1.9, -1.0, 0.0])

    def greedy(**options: Any) -> int:
        return choose(logits, Generation("", 1, temperature=0, **options), [3], [0, 0], None)

    assert greedy() == 0
    assert greedy(presence_penalty=0.05) == 0
    assert greedy(frequency_penalty=0.06) == 1  # 2 - 2 x 0.06 < 1.9
    assert greedy(repetition_penalty=1.1) == 1  # 2 / 1.1 < 1.9
    assert greedy(logit_bias={2: 4.0}) == 2
    draws = {choose(logits, Generation("", 1, min_p=0.5), [], [], None) for _ in range(50)}
    assert draws == {0, 1}  # the shares of the others are below half of the best's
    assert torch.allclose(guided(logits, logits, 3.0), logits.log_softmax(-1))


def test_llama_has_no_guidance_and_says_so(file: Path) -> None:
    from langraft.serve.llama import _body

    with pytest.raises(EngineError, match="--engine transformers"):
        _body(Generation("a", 1, guidance=2.0), 256)
