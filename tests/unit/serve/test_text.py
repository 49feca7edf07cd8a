from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import byte_tokenizer, greedy_by_hand
from transformers import LlamaTokenizer

from langraft.core.errors import BadInput
from langraft.serve.text import TextStream, complete, load

BYTES = byte_tokenizer()


def streamed(stream: TextStream, ids: list[int]) -> list[str]:
    return [*(stream.add(token) for token in ids), stream.end()]


def test_a_character_is_shown_when_its_last_byte_is_there() -> None:
    ids = BYTES("中a")["input_ids"]
    assert streamed(TextStream(BYTES), ids) == ["", "", "中", "a", ""]


def test_a_character_that_never_ends_is_shown_at_the_end() -> None:
    ids = BYTES("a中")["input_ids"][:-1]
    assert streamed(TextStream(BYTES), ids) == ["a", "", "", "\N{REPLACEMENT CHARACTER}"]


@given(st.text(max_size=40))
def test_streaming_loses_nothing_and_never_shows_half_a_character(text: str) -> None:
    parts = streamed(TextStream(BYTES), BYTES(text)["input_ids"])
    assert "".join(parts) == text
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(parts[:-1])


@given(st.lists(st.integers(0, 257), max_size=30))
def test_any_bytes_stream_to_the_whole_decoding(ids: list[int]) -> None:
    assert "".join(streamed(TextStream(BYTES), ids)) == BYTES.decode(ids, skip_special_tokens=True)


def test_sentencepiece_spaces_survive_between_tokens(material: Path) -> None:
    tokenizer = LlamaTokenizer.from_pretrained(material / "tokenizers" / "llama2")
    text = "The cat sat. 猫坐在垫子上。 \N{CAT FACE} naïve  two spaces"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(streamed(TextStream(tokenizer), ids)) == text
    for cut in range(1, len(ids)):
        head, tail = ids[:cut], ids[cut:]
        whole = tokenizer.decode(head, skip_special_tokens=True)
        if not whole.endswith("\N{REPLACEMENT CHARACTER}"):
            assert whole + "".join(streamed(TextStream(tokenizer, head), tail)) == text


@settings(max_examples=5, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_complete_is_the_argmax_of_every_step(model: Path, prompt: str) -> None:
    loaded, tokenizer = load(model)
    expected = greedy_by_hand(loaded, tokenizer, prompt, 12)
    assert complete(loaded, tokenizer, prompt, 12) == expected


def test_complete_ignores_the_sampling_of_the_folder(model: Path) -> None:
    loaded, tokenizer = load(model)
    expected = complete(loaded, tokenizer, "abc", 12)
    loaded.generation_config.do_sample = True
    loaded.generation_config.temperature = 9.0
    assert [complete(loaded, tokenizer, "abc", 12) for _ in range(3)] == [expected] * 3


def test_complete_refuses_an_empty_prompt(model: Path) -> None:
    with pytest.raises(BadInput, match="prompt is empty"):
        complete(*load(model), "", 4)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", r"no \*\.safetensors"),
        ("tokenizer.json", "neither tokenizer.json"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    tmp_path: Path, model: Path, missing: str, message: str
) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / missing).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match=message):
        load(folder)


def test_a_missing_folder_and_cut_weights_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        load(tmp_path / "nowhere")
    folder = shutil.copytree(model, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadInput, match="cannot load this model"):
        load(folder)


def test_code_in_the_folder_is_never_run(tmp_path: Path, model: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}'
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    with pytest.raises(BadInput):
        load(folder)
    assert not (tmp_path / "pwned").exists()
