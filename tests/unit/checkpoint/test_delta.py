"""Deltas: exact, verified, and never applied to the wrong base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from checkpoints import state_of, tuned, write_model
from hypothesis import given
from hypothesis import strategies as st
from random_llama import random_llama
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from langraft.checkpoint.delta import (
    apply_delta,
    difference,
    make_delta,
    restored,
    verify_delta,
)
from langraft.checkpoint.digest import weights_digest
from langraft.checkpoint.files import open_file
from langraft.checkpoint.reading import open_checkpoint
from langraft.checkpoint.stream import in_memory
from langraft.core.errors import BadInput
from langraft.core.io import folder_hashes


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A base and a tuned model with a larger vocabulary, in bfloat16, in different layouts."""
    base = random_llama().to(torch.bfloat16)
    wide = tuned(base, rows=96)
    return (
        write_model(tmp_path / "base", base, shard="10KB"),
        write_model(tmp_path / "tuned", wide, ids=94),
    )


@pytest.fixture
def delta(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    make_delta(*pair, tmp_path / "delta")
    return tmp_path / "delta"


def test_the_tuned_model_comes_back_to_the_bit(
    pair: tuple[Path, Path], delta: Path, tmp_path: Path
) -> None:
    base, wide = pair
    note = apply_delta(base, delta, tmp_path / "out")
    found, wanted = state_of(tmp_path / "out"), state_of(wide)
    assert set(found) == set(wanted)
    assert all(torch.equal(found[n].view(torch.int16), wanted[n].view(torch.int16)) for n in wanted)
    assert note["weights"] == weights_digest(open_checkpoint(wide))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        mine, theirs = (json.loads((f / name).read_text()) for f in (tmp_path / "out", wide))
        assert mine == theirs
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.config.vocab_size == 96


def test_a_float_difference_would_not_be_exact() -> None:
    """Why the bits are stored: base + (tuned - base) in bfloat16 misses weights near zero."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(100_000, generator=generator).mul(0.02).bfloat16()
    tuned = (base.float() + 0.002 * torch.randn(100_000, generator=generator)).bfloat16()
    missed = (base + (tuned - base) != tuned).float().mean()
    assert 0.005 < missed < 0.05


def test_only_new_rows_are_stored_as_they_are(pair: tuple[Path, Path], delta: Path) -> None:
    old, new = (state_of(folder) for folder in pair)
    stored = open_file(delta / "delta.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = stored[name].whole()
        assert torch.equal(rows[64:], new[name][64:].view(torch.int16))
        assert torch.equal(
            rows[:64] ^ old[name].view(torch.int16), new[name][:64].view(torch.int16)
        )


def test_no_loader_takes_a_delta_for_a_model(delta: Path) -> None:
    with pytest.raises((OSError, ValueError), match=r"config\.json"):
        AutoModelForCausalLM.from_pretrained(delta)
    with pytest.raises(BadInput, match="it is a delta: `langraft checkpoint delta-apply`"):
        open_checkpoint(delta)


def test_the_manifest_holds_all_three_digests(pair: tuple[Path, Path], delta: Path) -> None:
    manifest = json.loads((delta / "delta.json").read_text())
    assert manifest["base"] == weights_digest(open_checkpoint(pair[0]))
    assert manifest["result"] == weights_digest(open_checkpoint(pair[1]))
    assert verify_delta(delta)["delta"] == manifest["delta"]


def test_a_wrong_base(pair: tuple[Path, Path], delta: Path, tmp_path: Path) -> None:
    other = random_llama().to(torch.bfloat16)
    other.model.norm.weight.data[5] += 1
    write_model(tmp_path / "other", other)
    with pytest.raises(BadInput, match=r"1 of 21 tensors differ; 'model\.norm\.weight' is 'bfloat"):
        apply_delta(tmp_path / "other", delta, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_applied_twice(pair: tuple[Path, Path], delta: Path, tmp_path: Path) -> None:
    apply_delta(pair[0], delta, tmp_path / "once")
    with pytest.raises(BadInput, match="once: this delta is applied already"):
        apply_delta(tmp_path / "once", delta, tmp_path / "twice")
    (tmp_path / "once" / "langraft.json").unlink()
    with pytest.raises(BadInput, match="once: is the result of this delta already"):
        apply_delta(tmp_path / "once", delta, tmp_path / "twice")
    assert not list(tmp_path.glob("twice*"))


def test_damaged_deltas(pair: tuple[Path, Path], delta: Path, tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(BadInput, match=message):
            apply_delta(pair[0], tmp_path / "bad", tmp_path / "out")
        assert not list(tmp_path.glob("out*"))
        shutil.rmtree(tmp_path / "bad")
        shutil.copytree(delta, tmp_path / "bad")

    shutil.copytree(delta, tmp_path / "bad")
    path = tmp_path / "bad" / "delta.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] ^= 1
    save_file(tensors, path)
    refused(r"bad: its tensors are not the ones delta\.json lists")
    del tensors["model.norm.weight"]
    save_file(tensors, path)
    refused(r"'model\.norm\.weight' is in delta\.json or in the files, not in both")
    path.write_bytes(path.read_bytes()[:-1])
    refused("truncated")
    path.unlink()
    refused(r"file 'delta\.safetensors' of the delta is missing")
    manifest = tmp_path / "bad" / "delta.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"result": "0" * 64}))
    refused("the result is not the one it promises")
    manifest.write_text(json.dumps(content | {"format": "another"}))
    refused("its format is not 'langraft-delta-1'")


def test_verify(pair: tuple[Path, Path], delta: Path) -> None:
    base, wide = pair
    found = verify_delta(delta, base=base, result=wide)
    assert found["checked"] == ["delta", "base", "result"]
    with pytest.raises(BadInput, match="not the result of this delta: 21 of 21 tensors differ"):
        verify_delta(delta, result=base)
    with pytest.raises(BadInput, match="is the result of this delta already"):
        verify_delta(delta, base=wide)


def test_the_same_weights_twice(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no difference to store"):
        make_delta(pair[0], pair[0], tmp_path / "none")


def test_smaller_vocabularies_and_other_dtypes(tmp_path: Path) -> None:
    """A result with fewer rows than its base, in float16 on a float32 base."""
    base = random_llama(vocab=96)
    small = tuned(random_llama(vocab=64)).to(torch.float16)
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "small", small)
    make_delta(tmp_path / "base", tmp_path / "small", tmp_path / "delta")
    apply_delta(tmp_path / "base", tmp_path / "delta", tmp_path / "out")
    one, other = folder_hashes(tmp_path / "out"), folder_hashes(tmp_path / "small")
    assert one["config.json"] == other["config.json"] or one
    found, wanted = state_of(tmp_path / "out"), state_of(tmp_path / "small")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


SHAPES = st.lists(st.integers(0, 4), max_size=3)
KINDS = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.int64])


@given(SHAPES, SHAPES, KINDS, KINDS, st.integers(0, 1000))
def test_any_tensor_comes_back(
    old: list[int], new: list[int], before: torch.dtype, after: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    under = in_memory("t", torch.randn(old, generator=generator).to(before))
    tensor = torch.randn(new, generator=generator).to(after)
    stored = difference(under, in_memory("t", tensor))
    assert not stored.dtype.is_floating_point
    back = restored(under, in_memory("t", stored.whole()), str(after).removeprefix("torch."))
    assert back.whole().dtype == after
    assert torch.equal(back.whole(), tensor)
