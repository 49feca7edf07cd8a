"""New rows of both matrices, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_llama import random_llama, weights
from transformers import AutoModelForCausalLM

from langraft.checkpoint.folder import load_model, save_model
from langraft.core.errors import BadInput
from langraft.graft.rows import add_rows, padded
from langraft.graft.starts import subtoken_mean

PIECES = [[3, 5], [7], [3, 3, 60]]
FIRST, ROWS = 62, 72
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_padded() -> None:
    assert [padded(rows, 64) for rows in (1, 64, 65, 128)] == [64, 64, 128, 128]
    assert padded(65, 1) == 65


def test_mean_by_hand() -> None:
    matrix = torch.tensor([[1.0, 2.0], [3.0, 6.0], [8.0, -2.0]])
    found = subtoken_mean(matrix, [[0, 1], [2], [0, 0, 2]])
    wanted = torch.tensor([[2.0, 4.0], [8.0, -2.0], [10 / 3, 2 / 3]])
    torch.testing.assert_close(found, wanted)


def test_mean_of_bfloat16_is_taken_in_float32() -> None:
    matrix = torch.tensor([[256.0], [1.0], [1.0]], dtype=torch.bfloat16)
    assert float(subtoken_mean(matrix, [[0, 1, 2]])) == 86.0


@pytest.mark.parametrize(
    ("tied", "untie", "tied_after"),
    [(False, False, False), (True, False, True), (True, True, False), (False, True, False)],
)
def test_rows_by_hand(tied: bool, untie: bool, tied_after: bool) -> None:
    """The base has two rows of padding, which the pieces replace."""
    model = random_llama(vocab=64, tied=tied)
    before = weights(model)
    grown = add_rows(model, PIECES, first=FIRST, rows=ROWS, untie=untie)
    assert grown is model
    for name in (EMBED, HEAD):
        old, new = before[name], weights(model)[name]
        assert new.shape == (ROWS, 32)
        assert torch.equal(new[:FIRST], old[:FIRST])
        wanted = torch.stack([(old[3] + old[5]) / 2, old[7], (2 * old[3] + old[60]) / 3])
        torch.testing.assert_close(new[FIRST : FIRST + 3], wanted, atol=1e-6, rtol=1e-6)
        padding = old.mean(0).expand(ROWS - FIRST - 3, -1)
        torch.testing.assert_close(new[FIRST + 3 :], padding, atol=1e-6, rtol=1e-6)
    for name, value in before.items():
        if name not in (EMBED, HEAD):
            assert torch.equal(weights(model)[name], value)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied_after
    assert model.config.tie_word_embeddings == tied_after
    assert model.config.vocab_size == model.lm_head.out_features == ROWS
    assert model.get_input_embeddings().num_embeddings == ROWS


@pytest.mark.parametrize("tied", [False, True])
def test_old_text_gets_the_old_logits(tied: bool) -> None:
    """The new rows only enlarge the softmax's denominator."""
    model = random_llama(vocab=64, tied=tied)
    ids = torch.tensor([[1, 5, 9, 61, 30]])
    with torch.no_grad():
        before = model(ids).logits
        add_rows(model, PIECES, first=64, rows=128, untie=tied)
        after = model(ids).logits
    torch.testing.assert_close(after[..., :64], before, atol=1e-6, rtol=1e-6)
    lost = before.log_softmax(-1) - after.log_softmax(-1)[..., :64]
    torch.testing.assert_close(lost, lost[..., :1].expand_as(lost), atol=1e-4, rtol=0)
    assert (lost > 0).all()


@pytest.mark.parametrize(("tied", "untie"), [(False, False), (True, False), (True, True)])
def test_a_saved_model_comes_back_whole(tmp_path: Path, tied: bool, untie: bool) -> None:
    model = add_rows(random_llama(tied=tied), PIECES, first=FIRST, rows=ROWS, untie=untie)
    if untie:
        model.lm_head.weight.data += 1.0
    save_model(model, tmp_path)
    ids = torch.tensor([[1, 62, 64, 2]])
    for loaded in (load_model(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)):
        assert loaded.config.vocab_size == ROWS
        assert loaded.config.tie_word_embeddings == (tied and not untie)
        for name, value in weights(model).items():
            assert torch.equal(weights(loaded)[name], value), name
        with torch.no_grad():
            torch.testing.assert_close(loaded(ids).logits, model(ids).logits)


@pytest.mark.parametrize(("first", "rows"), [(65, 128), (64, 66)])
def test_pieces_that_do_not_fit(first: int, rows: int) -> None:
    with pytest.raises(BadInput, match=f"3 pieces from id {first} do not fit a model of 64 rows"):
        add_rows(random_llama(), PIECES, first=first, rows=rows, untie=False)
