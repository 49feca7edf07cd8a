"""A longer context: the numbers in the configuration, what transformers makes of them, and a cache
that is never read under two alphas.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from random_llama import random_llama, weights
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from langraft.checkpoint.folder import load_model, save_model
from langraft.core.errors import BadInput
from langraft.graft.context import (
    alpha_for,
    extend_context,
    one_alpha,
    stretched,
    stretched_theta,
)

HERE = Path("config.json")
TRAINED = 32


def _config(**more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "head_dim": 64,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    } | more


def _frequencies(config: dict[str, Any], length: int | None = None) -> torch.Tensor:
    """What transformers rotates by, after it has read `length` tokens."""
    small = {k: v for k, v in config.items() if k != "model_type"}
    model = LlamaForCausalLM(
        LlamaConfig(**small, vocab_size=8, num_hidden_layers=1, intermediate_size=8)
    )
    rotary = model.model.rotary_emb
    if length is not None:
        rotary(torch.zeros(1, 1, 8), torch.tensor([[length - 1]]))
    return rotary.inv_freq


def test_alpha_by_hand() -> None:
    """2 x 8192 / 4096 - 1 = 3, and 1 at the trained length, where the formula is continuous."""
    assert alpha_for(8_192, 4_096) == 3.0
    assert alpha_for(12_288, 4_096) == 5.0
    assert alpha_for(4_096, 4_096) == alpha_for(100, 4_096) == 1.0


def test_ntk_by_hand() -> None:
    found = stretched(_config(), "ntk", 8_192, where=HERE)
    theta = 10_000 * 3 ** (64 / 62)
    assert found["rope_parameters"] == {
        "rope_type": "default",
        "rope_theta": pytest.approx(theta),
    }
    assert found["max_position_embeddings"] == 8_192
    by_alpha = stretched(_config(), "ntk", 8_192, where=HERE, alpha=2.0)
    assert by_alpha["rope_parameters"]["rope_theta"] == pytest.approx(10_000 * 2 ** (64 / 62))


@pytest.mark.parametrize("length", [8_192, 10_000, 16_384])
def test_auto_is_ntk_of_the_length_in_hand(length: int) -> None:
    """transformers' `dynamic` with factor 2 rotates as our frozen base of the same length."""
    auto = stretched(_config(), "auto", None, where=HERE)
    assert auto["rope_parameters"]["factor"] == 2.0
    assert auto["max_position_embeddings"] == 4_096
    frozen = stretched(auto, "ntk", length, where=HERE)
    torch.testing.assert_close(_frequencies(auto, length), _frequencies(frozen), rtol=1e-5, atol=0)
    torch.testing.assert_close(_frequencies(auto, 4_096), _frequencies(_config()))


def test_linear_divides_every_frequency() -> None:
    found = stretched(_config(), "linear", 16_384, where=HERE)
    torch.testing.assert_close(_frequencies(found), _frequencies(_config()) / 4)


@pytest.mark.parametrize("method", ["yarn", "llama3"])
def test_the_bands_keep_the_fast_and_divide_the_slow(method: str) -> None:
    found = stretched(_config(), method, 16_384, where=HERE)
    ratio = _frequencies(_config()) / _frequencies(found)
    assert float(ratio[0]) == pytest.approx(1.0)
    assert float(ratio[-1]) == pytest.approx(4.0)
    assert (ratio.diff() > -1e-5).all()
    assert found["rope_parameters"]["original_max_position_embeddings"] == 4_096


def test_ntk_stands_on_interpolated_positions() -> None:
    linear = stretched(_config(), "linear", 8_192, where=HERE)
    found = stretched(linear, "ntk", 16_384, where=HERE)
    wanted = {"rope_type": "linear", "factor": 2.0}
    wanted["rope_theta"] = pytest.approx(stretched_theta(10_000, 64, 3.0))
    assert found["rope_parameters"] == wanted


def test_the_older_words_are_read() -> None:
    old = _config(rope_theta=5e5)
    del old["rope_parameters"]
    found = stretched(old, "ntk", 8_192, where=HERE)
    assert found["rope_parameters"]["rope_theta"] == pytest.approx(5e5 * 3 ** (64 / 62))
    assert "rope_theta" not in found
    old["rope_scaling"] = {"type": "linear", "factor": 2.0}
    with pytest.raises(BadInput, match=r"stretched already \(rope_type 'linear'\)"):
        stretched(old, "yarn", 8_192, where=HERE)


@pytest.mark.parametrize(
    ("method", "length", "alpha", "message"),
    [
        ("rope", 8_192, None, "no such method"),
        ("ntk", None, None, "more than the 4096 tokens"),
        ("yarn", 4_096, None, "more than the 4096 tokens"),
        ("auto", 8_192, None, "follows each text"),
        ("yarn", 8_192, 2.0, "goes with --method ntk"),
        ("ntk", 8_192, 0.5, "at least 1"),
    ],
)
def test_what_cannot_be(method: str, length: int | None, alpha: float | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        stretched(_config(), method, length, where=HERE, alpha=alpha)


def test_no_rotary_embedding() -> None:
    with pytest.raises(BadInput, match="only models with rotary"):
        stretched({"n_positions": 1024}, "ntk", 2_048, where=HERE)
    layered = {"full": {"rope_theta": 1.0}, "sliding": {"rope_theta": 2.0}}
    with pytest.raises(BadInput, match="differ by layer"):
        stretched(_config(rope_parameters=layered), "ntk", 8_192, where=HERE)


@pytest.mark.parametrize("method", ["ntk", "auto", "linear", "yarn", "llama3"])
def test_a_stretched_folder_loads_with_the_same_weights(tmp_path: Path, method: str) -> None:
    model = random_llama()
    save_model(model, tmp_path / "a")
    (tmp_path / "a/tokenizer_config.json").write_text('{"model_max_length": 512}')
    length = None if method == "auto" else 2_048
    found = extend_context(tmp_path / "a", method, length, tmp_path / "b")
    for loaded in (
        load_model(tmp_path / "b"),
        AutoModelForCausalLM.from_pretrained(tmp_path / "b"),
    ):
        for name, value in weights(model).items():
            assert torch.equal(weights(loaded)[name], value)
        kept = {k: loaded.config.rope_parameters[k] for k in found["rope_parameters"]}
        assert kept == found["rope_parameters"]
        assert loaded.config.max_position_embeddings == (length or 512)
    written = json.loads((tmp_path / "b/tokenizer_config.json").read_text())
    assert written["model_max_length"] == (length or 512)
    note = json.loads((tmp_path / "b/langraft.json").read_text())
    assert note["context"]["method"] == method
    with pytest.raises(BadInput, match="exists already"):
        extend_context(tmp_path / "a", method, length, tmp_path / "b")
    assert not list(tmp_path.glob("*.partial"))


def _auto_model() -> LlamaForCausalLM:
    model = random_llama(hidden=64)
    config = stretched(
        model.config.to_dict() | {"max_position_embeddings": TRAINED}, "auto", None, where=HERE
    )
    fresh = LlamaForCausalLM(LlamaConfig.from_dict(config)).eval()
    fresh.load_state_dict(model.state_dict())
    return fresh


def _generated(model: LlamaForCausalLM, prompt: torch.Tensor, new: int) -> Any:
    return model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )


def _worst(model: LlamaForCausalLM, found: Any, prompt: int) -> float:
    """The largest difference between logits of the generation and of one fresh forward."""
    with torch.no_grad():
        fresh = model(found.sequences[:, :-1], use_cache=False).logits[0, prompt - 1 :]
    return float((torch.cat(found.logits) - fresh).abs().max())


def test_generation_past_the_boundary_equals_a_fresh_forward() -> None:
    """Prompt inside the trained length, answer far outside; without one alpha the keys in the cache
    were rotated by others than the query, which shows.
    """
    model, prompt, new = _auto_model(), torch.randint(1, 64, (1, 24)), 60
    with one_alpha(model, 24 + new):
        found = _generated(model, prompt, new)
        assert _worst(model, found, 24) < 1e-3
    mixed = _generated(model, prompt, new)
    assert _worst(model, mixed, 24) > 0.1


def test_one_alpha_is_that_of_the_length_and_ends() -> None:
    model = _auto_model()
    rotary = model.model.rotary_emb
    before = rotary.inv_freq.clone()
    with one_alpha(model, 4 * TRAINED):
        theta = stretched_theta(model.config.rope_parameters["rope_theta"], 16, 7.0)
        wanted = torch.tensor([theta ** (-2 * k / 16) for k in range(8)])
        torch.testing.assert_close(rotary.inv_freq, wanted, rtol=1e-5, atol=0)
    assert torch.equal(rotary.inv_freq, before)
    assert rotary.rope_type == "dynamic"
    plain = random_llama()
    with one_alpha(plain, 10_000):
        assert math.isclose(float(plain.model.rotary_emb.inv_freq[0]), 1.0)


def test_completions_keep_one_alpha() -> None:
    """The continuation that `langraft chat` and the samples use."""
    from langraft.serve.text import complete

    class Letters:
        pad_token_id = 0
        eos_token_id = None

        def __call__(self, text: str, **_: Any) -> dict[str, torch.Tensor]:
            return {"input_ids": torch.tensor([[ord(c) % 64 for c in text]])}

        def decode(self, ids: list[int], **_: Any) -> str:
            return "".join(f"<{i}>" for i in ids)

    model, prompt = _auto_model(), "ABCDEFGHIJKLMNOPQRSTUVWX"
    model.generation_config.eos_token_id = None
    ids = Letters()(prompt)["input_ids"]
    with one_alpha(model, 24 + 60):
        wanted = _generated(model, ids, 60).sequences[0, 24:].tolist()
    assert complete(model, Letters(), prompt, 60) == "".join(f"<{i}>" for i in wanted)
