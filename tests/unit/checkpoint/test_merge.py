"""Adapters that do not fit are refused by name; several in a row; bases that are not the one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import state_of, tuned, write_model, write_tokenizer
from random_adapter import ATTENTION, logits, trained_adapter
from random_llama import random_llama
from safetensors.torch import load_file, save_file

from langraft.checkpoint.adapter import read_adapter, stamp_adapter
from langraft.checkpoint.digest import weights_digest
from langraft.checkpoint.folder import load_model
from langraft.checkpoint.merge import merge_adapters
from langraft.checkpoint.reading import open_checkpoint
from langraft.core.errors import BadInput
from langraft.core.io import folder_hashes

MATRICES = ["embed_tokens", "lm_head"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    trained_adapter(random_llama(), tmp_path / "adapter", target_modules=ATTENTION)
    return tmp_path / "adapter"


def _edit(adapter: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def _set(adapter: Path, **settings: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def _refused(base: Path, adapter: Path, message: str, **options: Any) -> bool:
    """Whether the merge says this and leaves nothing behind."""
    out = base.parent / "out"
    with pytest.raises(BadInput, match=message):
        merge_adapters(base, [adapter], out, **options)
    return not list(base.parent.glob("out*"))


Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({"base_model.model.extra": torch.ones(2)}), "changes 'extra', which"),
        (
            lambda t: t.update({f"{Q.replace('layers.0', 'layers.7')}.weight": torch.ones(2)}),
            r"changes 'model\.layers\.7\.self_attn\.q_proj\.weight'",
        ),
        (lambda t: t.pop(f"{Q}.lora_A.weight"), "q_proj' has lora_B without its partner"),
        (lambda t: t.pop(f"{Q}.lora_B.weight"), "q_proj' has lora_A without its partner"),
        (
            lambda t: t.update({f"{Q}.lora_A.weight": torch.ones(4, 16)}),
            r"change of '.*q_proj\.weight' is 32 x 16 and the base's tensor \[32, 32\]",
        ),
        (
            lambda t: t.update({f"{Q}.lora_A.weight": torch.ones(3, 32)}),
            r"lora_A \[3, 32\] and lora_B \[32, 4\], which do not fit rank 4",
        ),
        (
            lambda t: t.update({f"{Q}.lora_magnitude_vector": torch.ones(32)}),
            "use_dora is False, but '.*q_proj' has a magnitude vector",
        ),
        (
            lambda t: t.update({f"{Q}.lora_A.default.weight": torch.ones(4, 32)}),
            "holds two low-rank changes of 'model.layers.0.self_attn.q_proj'",
        ),
        (
            lambda t: t.update({f"{Q}.lora_B.weight": torch.full((32, 4), float("nan"))}),
            "holds NaN or infinite values",
        ),
        (
            lambda t: t.update({"base_model.model.model.embed_tokens.weight": torch.ones(64, 16)}),
            r"'model\.embed_tokens\.weight' has shape \[64, 16\] and the base's \[64, 32\]",
        ),
        (
            lambda t: t.update({"base_model.model.model.embed_tokens.weight": torch.ones(40, 32)}),
            r"has shape \[40, 32\] and the base's \[64, 32\]",
        ),
        (
            lambda t: t.update({"base_model.model.model.norm.weight": torch.ones(33)}),
            r"'model\.norm\.weight' has shape \[33\]",
        ),
        (dict.clear, "holds no tensors; the adapter was saved empty"),
    ],
)
def test_tensors_that_do_not_fit(
    change: Callable[[dict[str, torch.Tensor]], None], message: str, base: Path, adapter: Path
) -> None:
    _edit(adapter, change)
    assert _refused(base, adapter, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'; only LORA"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' changed the base's own weights"),
        ({"use_qalora": True}, "use_qalora is set"),
        ({"r": 8}, "do not fit rank 8"),
        ({"use_dora": True}, "use_dora is True, but .* has no magnitude vector"),
    ],
)
def test_settings_that_cannot_be_merged(
    settings: dict[str, Any], message: str, base: Path, adapter: Path
) -> None:
    _set(adapter, **settings)
    assert _refused(base, adapter, message)


def test_files_that_are_missing_or_damaged(base: Path, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    assert _refused(base, adapter, r"adapter_model\.safetensors: truncated")
    weights.unlink()
    assert _refused(base, adapter, "no adapter weights")
    (adapter / "adapter_config.json").unlink()
    assert _refused(base, adapter, r"no adapter_config\.json, so this is not a peft adapter")


def test_pickled_adapters_are_read_as_tensors_only(base: Path, adapter: Path) -> None:
    merge_adapters(base, [adapter], base.parent / "one")
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    merge_adapters(base, [adapter], base.parent / "two")
    one, two = (folder_hashes(base.parent / name) for name in ("one", "two"))
    assert one["model.safetensors"] == two["model.safetensors"]


def test_our_adapters_know_their_base(base: Path, adapter: Path) -> None:
    stamp_adapter(adapter, weights_digest(open_checkpoint(base)))
    note = merge_adapters(base, [adapter], base.parent / "good")
    assert note["evidence"] == ["the digest of the base's weights"]
    other = write_model(base.parent / "other", tuned(random_llama()))
    assert _refused(
        other, adapter, "was trained on weights .* merge it into the base it was trained on"
    )
    assert _refused(other, adapter, "was trained on weights", any_base=True)


def test_several_are_what_one_after_the_other_are(base: Path, adapter: Path) -> None:
    """Bit for bit, in bfloat16, each knowing its own base."""
    model = random_llama().to(torch.bfloat16)
    base = write_model(base.parent / "half", model)
    stamp_adapter(adapter, weights_digest(open_checkpoint(base)))
    here = base.parent
    merge_adapters(base, [adapter], here / "first")
    trained_adapter(
        load_model(here / "first"), here / "second", target_modules=["q_proj", "up_proj"], seed=3
    )
    stamp_adapter(here / "second", weights_digest(open_checkpoint(here / "first")))
    merge_adapters(here / "first", [here / "second"], here / "stepwise")
    merge_adapters(base, [adapter, here / "second"], here / "at once")
    one, other = state_of(here / "stepwise"), state_of(here / "at once")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert _refused(base, here / "second", "was trained on weights")


def test_a_foreign_adapter_of_another_base(base: Path, tmp_path: Path) -> None:
    """Trained matrices point elsewhere, and magnitudes have other lengths."""
    other = random_llama(seed=8)
    trained_adapter(other, tmp_path / "saved", target_modules=ATTENTION, modules_to_save=MATRICES)
    assert _refused(base, tmp_path / "saved", "cosine of the rows of .* with the base's is -?0")
    wide = random_llama(seed=8)
    wide.model.layers[0].self_attn.q_proj.weight.data *= 4
    trained_adapter(wide, tmp_path / "dora", target_modules=["q_proj"], use_dora=True)
    assert _refused(base, tmp_path / "dora", "deviation of DoRA's magnitudes .* is 2.9")
    note = merge_adapters(base, [tmp_path / "saved"], tmp_path / "meant", any_base=True)
    assert note["evidence"] == ["none: merged into another base as told"]


def test_a_foreign_adapter_of_this_base(base: Path, tmp_path: Path) -> None:
    right = random_llama()
    for name, settings, evidence in [
        ("saved", {"modules_to_save": MATRICES}, "cosine of the rows of"),
        ("dora", {"use_dora": True}, "deviation of DoRA's magnitudes"),
        ("plain", {}, "names and shapes only"),
    ]:
        trained_adapter(right, tmp_path / name, target_modules=ATTENTION, **settings)
        note = merge_adapters(base, [tmp_path / name], tmp_path / f"{name}-merged")
        assert note["evidence"][0].startswith(evidence)


def test_a_probe_decides_before_the_name_is_given(base: Path, adapter: Path) -> None:
    seen: list[torch.Tensor] = []

    def probe(folder: Path) -> None:
        assert not (base.parent / "out").exists()
        seen.append(logits(load_model(folder)))
        raise BadInput("the probe says no")

    assert _refused(base, adapter, "the probe says no", probe=probe)
    assert seen[0].shape == (64, 64)


def _extended(folder: Path, *, rows: int, ids: int | None, **settings: Any) -> Path:
    chosen = {"target_modules": ATTENTION, "modules_to_save": MATRICES, **settings}
    trained_adapter(random_llama(), folder, rows=rows, **chosen)
    if ids is not None:
        write_tokenizer(folder, ids)
    return folder


def test_the_adapter_brings_the_vocabulary(base: Path, tmp_path: Path) -> None:
    adapter = _extended(tmp_path / "wide", rows=96, ids=94)
    merge_adapters(base, [adapter], tmp_path / "out")
    out = tmp_path / "out"
    assert json.loads((out / "config.json").read_text())["vocab_size"] == 96
    assert (out / "tokenizer.json").read_bytes() == (adapter / "tokenizer.json").read_bytes()
    assert load_model(out).get_input_embeddings().weight.shape == (96, 32)
    note = json.loads((out / "langraft.json").read_text())
    assert note["made"]["adapters"] == [str(adapter)]


def test_rows_and_tokenizer_must_agree(base: Path, tmp_path: Path) -> None:
    small = _extended(tmp_path / "small", rows=96, ids=None)
    assert _refused(
        base, small, "tokenizer has 60 ids, but the adapter brings 96 rows for a base of 64"
    )
    large = _extended(tmp_path / "large", rows=96, ids=97)
    assert _refused(base, large, "uses ids up to 96 but the merged model has 96 rows")
    write_tokenizer(tmp_path, 90)
    merge_adapters(base, [small], tmp_path / "named", tokenizer=tmp_path)
    assert load_model(tmp_path / "named").config.vocab_size == 96
    (tmp_path / "empty").mkdir()
    assert _refused(base, small, "empty: no tokenizer", tokenizer=tmp_path / "empty")


def test_an_adapter_with_only_one_of_two_grown_matrices(base: Path, tmp_path: Path) -> None:
    one = _extended(tmp_path / "one", rows=96, ids=94, modules_to_save=["embed_tokens"])
    assert _refused(
        base, one, "'model.embed_tokens.weight' would have 96 rows and 'lm_head.weight' 64"
    )


def test_other_settings_of_the_base_are_kept(base: Path, adapter: Path, tmp_path: Path) -> None:
    (base / "generation_config.json").write_text('{"temperature": 0.7}')
    (base / "chat_template.jinja").write_text("{{ messages }}")
    merge_adapters(base, [adapter], tmp_path / "out")
    before = json.loads((base / "config.json").read_text())
    after = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {key: after[key] for key in before} == before
    hashes = folder_hashes(tmp_path / "out")
    kept = ("generation_config.json", "chat_template.jinja", "tokenizer.json")
    assert {name: hashes[name] for name in kept} == {
        name: folder_hashes(base)[name] for name in kept
    }


def test_scaling_by_hand(adapter: Path) -> None:
    """alpha 8, rank 4: 2 for LoRA, 4 for rsLoRA."""
    part = next(iter(read_adapter(adapter).low_rank.values()))
    assert part.scaling == 2.0
    _set(adapter, use_rslora=True)
    part = next(iter(read_adapter(adapter).low_rank.values()))
    assert part.scaling == 4.0
