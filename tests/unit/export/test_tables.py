from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tokenizer_bases import lines
from transformers import AutoModelForCausalLM

from langraft.core.errors import BadInput
from langraft.evals.suites import load_exam
from langraft.export.gguf import held_weights
from langraft.export.quantize import quantize
from langraft.export.tabulate import Questions, quantisation_table
from langraft.tokenizer.encoder import load_encoder

TEXTS = ["\n".join(lines("en", 120)), "\n".join(lines("zh", 120))]


def test_held_weights_are_the_models_own_in_f32_and_near_in_8_bits(byte_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(byte_model)
    own = model.state_dict()
    exact = dict(held_weights(byte_model, "f32"))
    assert set(exact) == set(own)
    assert all(torch.equal(exact[name], own[name]) for name in own)
    for name, tensor in held_weights(byte_model, "q8_0"):
        scale = own[name].abs().max()
        assert float((tensor - own[name]).abs().max()) <= float(scale) / 127 * 0.51 + 1e-6, name


def test_the_table_has_what_the_model_itself_scores(byte_model: Path, tmp_path: Path) -> None:
    found = quantisation_table(byte_model, TEXTS, tmp_path, ["f32", "q4_0"], max_bytes=3_000)
    exact, coarse = found["rows"]
    encoder = load_encoder(byte_model)
    model = AutoModelForCausalLM.from_pretrained(byte_model).eval()
    nats = scored = tokens = 0.0
    for text in TEXTS:
        ids = encoder.encode(text)[:256]
        logs = model(torch.tensor([ids])).logits[0, :-1].detach().log_softmax(-1)
        nats -= float(logs[range(255), ids[1:]].sum())
        tokens += 255
        scored += sum(len(encoder.piece_bytes(token)) for token in ids[1:])
    assert found["tokens"] == tokens
    assert exact["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-3)
    assert exact["bits_per_byte"] == pytest.approx(nats / math.log(2) / scored, rel=1e-4)
    assert coarse["megabytes"] < exact["megabytes"] / 2
    assert exact["generation_ms"] > 0
    assert json.loads((tmp_path / "table.json").read_text()) == found
    assert (tmp_path / "table.md").read_text().count("\n") == 4
    assert (tmp_path / "table.svg").read_text().count("<circle") == 2
    with pytest.raises(BadInput, match="less than 256 tokens"):
        quantisation_table(byte_model, ["short"], tmp_path, ["f32"])


def test_the_table_has_an_exam(byte_model: Path, tmp_path: Path) -> None:
    exam_file = tmp_path / "capitals.csv"
    exam_file.write_text(
        "Question,A,B,C,D,Answer\n"
        + "\n".join(f"Question {n}?,1,2,3,4,{'ABCD'[n % 4]}" for n in range(8))
    )
    exam = load_exam("csv", str(exam_file), Path(), shots=0)
    found = quantisation_table(
        *(byte_model, TEXTS, tmp_path / "table", ["f32", "q8_0"]),
        max_bytes=1_000,
        questions=Questions(exam, "lm-eval"),
    )
    scores = [row["exam"] for row in found["rows"]]
    assert all(score["count"] == 8 and 0 <= score["low"] <= score["value"] for score in scores)
    assert "exam, %" in (tmp_path / "table" / "table.md").read_text()


def test_int8_is_loaded_again_and_scored(byte_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    found = quantize(byte_model, "int8", TEXTS, tmp_path / "int8")
    bits = found["bits_per_byte"]
    assert bits["reloaded"] == pytest.approx(bits["int8"], rel=1e-3)
    assert bits["int8"] == pytest.approx(bits["bf16"], rel=0.02)
    assert (tmp_path / "int8" / "tokenizer.json").exists()
    assert json.loads((tmp_path / "int8" / "langraft.json").read_text())["scheme"] == "int8"


def test_w4a16_writes_the_script_and_the_commands(byte_model: Path, tmp_path: Path) -> None:
    found = quantize(byte_model, "w4a16", TEXTS, tmp_path / "w4")
    script = (tmp_path / "w4" / "quantize_w4a16.py").read_text()
    compile(script, "quantize_w4a16.py", "exec")
    assert repr(str(byte_model.resolve())) in script
    assert any("llmcompressor" in command for command in found["commands"])
    with pytest.raises(BadInput, match="known are int8, w4a16"):
        quantize(byte_model, "nf4", TEXTS, tmp_path / "x")
    with pytest.raises(BadInput, match="there is none"):
        quantize(byte_model, "int8", [" "], tmp_path / "x")
