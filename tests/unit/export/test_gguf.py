from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import save_model
from gguf import GGUFReader
from safetensors.torch import load_file
from tokenizer_bases import lines
from transformers import AutoModelForCausalLM

from langraft.checkpoint.folder import model_digest
from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import PARTIAL, sha256_file
from langraft.export.gguf import export_gguf
from langraft.export.llamacpp import LlamaCpp
from langraft.export.modelfile import write_modelfile
from langraft.export.parity import check_export, type_of_file

TEXTS = ["\n".join(lines("en", 60)), "\n".join(lines("zh", 60))] * 4


def field(file: Path, name: str) -> Any:
    return GGUFReader(file).fields[name].contents()


@pytest.mark.parametrize("which", ["byte_model", "piece_model"])
def test_extended_vocabularies_keep_their_ids_and_logits(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(which)
    file = tmp_path / "model.gguf"
    found = export_gguf(model, file, "f16")
    assert found["unused_rows"] > 0
    parity = check_export(model, file, "f16", TEXTS)
    assert parity.same_lines == parity.lines == 1000
    assert parity.transformers_lines == 1000
    assert parity.top_1 >= 0.99  # random logits lie close together; real ones do not
    assert parity.mean_kl < 1e-5
    assert type_of_file(file) == "f16"
    assert not list(tmp_path.glob(f"*{PARTIAL}"))


ROPES: dict[str, dict[str, Any]] = {
    "ntk": {"rope_type": "default", "rope_theta": 77_000.0},
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "rope_theta": 10_000.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {
        "rope_type": "yarn",
        "factor": 8.0,
        "rope_theta": 10_000.0,
        "original_max_position_embeddings": 64,
    },
    "yarn, own attention factor": {
        "rope_type": "yarn",
        "factor": 8.0,
        "rope_theta": 10_000.0,
        "original_max_position_embeddings": 64,
        "attention_factor": 0.7,
    },
}


def agreement(model: Path, file: Path, length: int = 200) -> tuple[float, float]:
    """Share of equal most likely ids, and the largest difference in standard deviations."""
    torch.manual_seed(9)
    ids = torch.randint(3, 2000, (length,)).tolist()
    ours = AutoModelForCausalLM.from_pretrained(model)(torch.tensor([ids])).logits[0].detach()
    with LlamaCpp(file) as engine:
        theirs = torch.from_numpy(engine.logits(ids))[:, : ours.shape[1]]
    same = (ours.argmax(-1) == theirs.argmax(-1)).float().mean()
    return float(same), float((ours - theirs).abs().max() / ours.std())


@pytest.mark.parametrize("name", list(ROPES))
def test_rope_settings_are_carried(name: str, byte_model: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", byte_model, rope_parameters=ROPES[name])
    export_gguf(model, tmp_path / "f32.gguf", "f32")
    same, difference = agreement(model, tmp_path / "f32.gguf")
    assert same >= 0.99
    assert difference < 1e-2
    plain = save_model(tmp_path / "plain", byte_model)
    assert agreement(plain, tmp_path / "f32.gguf")[1] > 10 * difference


@pytest.mark.parametrize("family", ["mistral", "qwen2", "qwen3"])
def test_every_family_and_tied_rows(family: str, byte_model: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", byte_model, family, tie_word_embeddings=True)
    found = export_gguf(model, tmp_path / "f32.gguf", "f32")
    assert found["tensors"] == len(load_file(model / "model.safetensors"))
    same, difference = agreement(model, tmp_path / "f32.gguf")
    assert same >= 0.99
    assert difference < 1e-2


def test_dynamic_scaling_needs_a_length_and_is_frozen_there(
    byte_model: Path, tmp_path: Path
) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    model = save_model(
        tmp_path / "model", byte_model, rope_parameters=rope, max_position_embeddings=64
    )
    with pytest.raises(BadInput, match="--context"):
        export_gguf(model, tmp_path / "x.gguf", "f32")
    export_gguf(model, tmp_path / "x.gguf", "f32", context=200)
    assert field(tmp_path / "x.gguf", "llama.context_length") == 200
    assert agreement(model, tmp_path / "x.gguf", 200)[0] == 1.0


def test_metadata_names_the_model_and_its_manifest(byte_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(byte_model, tmp_path / "model")
    (model / "manifest.json").write_text("{}")
    file = tmp_path / "x.gguf"
    export_gguf(model, file, "q8_0")
    assert field(file, "langraft.model.sha256") == model_digest(model)
    assert field(file, "langraft.manifest.sha256") == sha256_file(model / "manifest.json")
    assert field(file, "tokenizer.ggml.pre") == "smollm"
    written = (model / "chat_template.jinja").read_text()
    assert field(file, "tokenizer.chat_template") == written


def test_the_same_model_gives_the_same_bytes(byte_model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_gguf(byte_model, tmp_path / f"{name}.gguf", "q4_k_m")
    assert sha256_file(tmp_path / "a.gguf") == sha256_file(tmp_path / "b.gguf")


def test_a_wrong_weight_or_another_vocabulary_fails_the_check(
    byte_model: Path, piece_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_gguf(byte_model, tmp_path / "x.gguf", "f16")
    other = save_model(tmp_path / "other", byte_model, rope_parameters=ROPES["linear"])
    with pytest.raises(RunFailed, match="99% is the least for f16"):
        check_export(other, tmp_path / "x.gguf", "f16", TEXTS)
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"greedy \d+/24 \(a lead of \d\.\d{4} there\)", said)
    with pytest.raises(RunFailed, match="lines have other ids"):
        check_export(piece_model, tmp_path / "x.gguf", "f16", TEXTS)


def test_what_cannot_be_exported_says_why(byte_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(byte_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "gpt_neox"}))
    with pytest.raises(BadInput, match="written for llama, mistral, qwen2, qwen3"):
        export_gguf(model, tmp_path / "x.gguf")
    (model / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadInput, match=r"llama\.cpp's name for that is not known"):
        export_gguf(model, tmp_path / "x.gguf")
    with pytest.raises(BadInput, match="not a GGUF file"):
        type_of_file(model / "config.json")
    assert not list(tmp_path.glob("*.gguf*"))


def test_the_modelfile_names_the_file_and_the_stops(byte_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(byte_model, tmp_path / "model")
    (model / "chat_template.jinja").write_text("<|im_start|>{{ messages[0].content }}<|im_end|>")
    text = write_modelfile(model, tmp_path / "x.gguf").read_text()
    assert text.startswith("FROM ./x.gguf\n")
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert text.endswith("PARAMETER num_ctx 512\n")


def test_the_whole_chinese_llama_vocabulary(material: Path, tmp_path: Path) -> None:
    """55,296 published pieces, the added ones all with score 0: as SentencePiece reads them."""
    model = save_model(
        tmp_path / "model", material / "tokenizers" / "chinese-llama-2-55296", hidden_size=32
    )
    export_gguf(model, tmp_path / "x.gguf", "f16")
    sentencepiece = pytest.importorskip("sentencepiece")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model / "tokenizer.model"))
    texts = [*lines("zh", 400), *lines("en", 200)]
    with LlamaCpp(tmp_path / "x.gguf") as engine:
        assert engine.rows > 55_296
        assert [engine.ids(text) for text in texts] == reference.encode(texts)
