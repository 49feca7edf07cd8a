from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.export.ggml import quantise, row_bytes
from langraft.export.types import MIXES, kind_of, mix_named


def chosen(mix: str, name: str, columns: int = 256, layers: int = 8, tied: bool = False) -> Kind:
    return kind_of(MIXES[mix], name, (64, columns), layers=layers, tied=tied)


def test_the_medium_mix_is_better_at_the_ends_and_in_every_third_layer() -> None:
    better = [chosen("q4_k_m", f"blk.{n}.ffn_down.weight", layers=16) for n in range(16)]
    assert [n for n, kind in enumerate(better) if kind is Kind.Q6_K] == [0, 1, 4, 7, 10, 13, 14, 15]
    assert chosen("q4_k_m", "blk.0.attn_q.weight") is Kind.Q4_K


def test_the_output_is_better_and_the_tied_embedding_is_the_output() -> None:
    assert chosen("q4_0", "output.weight") is Kind.Q6_K
    assert chosen("q4_0", "token_embd.weight") is Kind.Q4_0
    assert chosen("q4_0", "token_embd.weight", tied=True) is Kind.Q6_K
    assert chosen("f16", "output.weight") is Kind.F16


def test_rows_that_do_not_fit_fall_back_as_in_llama_cpp() -> None:
    assert chosen("q4_k", "blk.0.attn_q.weight", 576) is Kind.Q5_0
    assert chosen("q5_k", "blk.0.attn_q.weight", 576) is Kind.Q5_1
    assert chosen("q6_k", "blk.0.attn_q.weight", 576) is Kind.Q8_0
    assert chosen("q4_0", "blk.0.attn_q.weight", 40) is Kind.F16


def test_vectors_stay_exact_and_unknown_types_are_named() -> None:
    assert kind_of(MIXES["q4_0"], "output_norm.weight", (64,), layers=2, tied=False) is Kind.F32
    with pytest.raises(BadInput, match="q3_x: known types are"):
        mix_named("q3_x")


ERRORS = {
    Kind.Q4_0: 0.14,
    Kind.Q4_1: 0.09,
    Kind.Q5_0: 0.07,
    Kind.Q5_1: 0.05,
    Kind.Q8_0: 0.009,
    Kind.Q4_K: 0.12,
    Kind.Q5_K: 0.06,
    Kind.Q6_K: 0.04,
    Kind.F16: 5e-4,
    Kind.BF16: 4e-3,
}


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_what_was_quantised_comes_back_within_the_types_error(seed: int) -> None:
    """The gguf package's own dequantiser reads what ggml's quantiser wrote."""
    rows = np.random.default_rng(seed).standard_normal((3, 512)).astype(np.float32)
    for kind, limit in ERRORS.items():
        packed = quantise(rows, kind)
        assert packed.shape == (3, row_bytes(kind, 512))
        error = np.abs(dequantize(packed, kind) - rows).mean() / np.abs(rows).mean()
        assert error < limit, kind
