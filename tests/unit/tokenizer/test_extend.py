"""What `extend_tokenizer` writes, for bases of three kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizer_bases import CHAT_TEMPLATE, SIZE, Extension, byte_level_base, held_out, lines

from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer

CHINESE = ["我们学习中文。", "我们学习语言，他们学习中文。"] * 20


def _extend(base: Path, out: Path, **options: object) -> dict[str, object]:
    rules = {"scripts": ("Han",), "min_frequency": 2, "max_piece_characters": 4}
    given = {key: options.pop(key) for key in list(options) if key in rules}
    wanted = {"size": 8, "rules": Rules(**(rules | given))}
    return extend_tokenizer(base, CHINESE, out=out, **(wanted | options))


def test_results_and_ids(extension: Extension) -> None:
    assert extension.results["added_pieces"] == SIZE
    assert extension.results["base_pieces"] == extension.before.size
    assert extension.after.size == extension.before.size + SIZE
    assert extension.results["family"] == extension.before.family
    assert extension.results["least_frequent"] >= 5
    assert extension.results["unused_pieces"] <= 0.1 * SIZE
    for piece, index in extension.before.vocabulary.items():
        assert extension.after.vocabulary[piece] == index


def test_chinese_takes_far_fewer_tokens(extension: Extension) -> None:
    """Measured with 700 pieces: 2.87 to 1.02 (gpt2), 2.85 to 1.00 (llama3), 2.87 to 1.01 (SP)."""
    before = measure(extension.before, held_out()[:20])["tokens_per_character"]
    after = measure(extension.after, held_out()[:20])["tokens_per_character"]
    assert before == pytest.approx(2.855, abs=0.03)
    assert after == pytest.approx(1.007, abs=0.03)


def test_ten_thousand_english_lines_are_encoded_as_before(extension: Extension) -> None:
    english = [line for line in lines("en", 14_000) if line.isascii()][:10_000]
    assert len(english) == 10_000
    assert extension.after.encode_batch(english) == extension.before.encode_batch(english)


def test_new_pieces_hold_the_script_alone(extension: Extension) -> None:
    for index in range(extension.before.size, extension.after.size):
        text = extension.after.piece_text(index)
        assert len(text) <= 4
        if len(text) > 1 and "�" not in text:
            assert all("\u3400" <= character <= "\u9fff" for character in text), text


def test_special_tokens_and_their_ids_are_kept(extension: Extension) -> None:
    assert extension.after.special_ids == extension.before.special_ids
    for index in extension.before.special_ids:
        text = extension.before.piece_text(index)
        if extension.style == "sentencepiece" and text == "<unk>":
            continue
        assert extension.after.encode(f"a{text}b").count(index) == 1


def test_chat_template_and_settings_are_carried(extension: Extension) -> None:
    config = read_json(extension.extended / "tokenizer_config.json")
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    if extension.style == "sentencepiece":
        assert (config["bos_token"], config["eos_token"]) == ("<s>", "</s>")
        assert (extension.extended / "tokenizer.model").exists()
    else:
        assert (extension.extended / "chat_template.jinja").read_text() == CHAT_TEMPLATE
        assert config["pad_token"] == "<|im_end|>"


def test_pre_tokenizer_and_post_processor_are_the_bases(extension: Extension) -> None:
    for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens"):
        assert extension.after.definition[key] == extension.before.definition[key]


def test_the_same_text_gives_the_same_file(bytes_base: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        _extend(bytes_base, tmp_path / name)
    files = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_fewer_pieces_than_asked_for_is_said(
    bytes_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = _extend(bytes_base, tmp_path / "out", size=5000)
    shown = " ".join(capsys.readouterr().err.split())
    assert f"{results['added_pieces']} pieces instead of 5000" in shown
    assert load_encoder(tmp_path / "out").size == 256 + int(str(results["added_pieces"]))


def test_new_ids_start_behind_special_tokens_above_the_vocabulary(tmp_path: Path) -> None:
    """Llama-3's layout; `tokenizers` would number the special tokens anew behind the new pieces."""
    base = tmp_path / "base"
    base.mkdir()
    byte_level_base(base, "llama3")
    before = load_encoder(base)
    assert before.size == len(before.definition["model"]["vocab"]) + 3
    _extend(base, tmp_path / "out", size=30)
    after = load_encoder(tmp_path / "out")
    assert after.encode("<|im_end|>") == before.encode("<|im_end|>") == [before.size - 1]
    assert min(after.encode("我们")) >= before.size
    assert all(isinstance(pair, str) for pair in after.definition["model"]["merges"])


def test_vocab_json_and_merges_txt_get_the_new_pieces(bytes_base: Path, tmp_path: Path) -> None:
    (bytes_base / "vocab.json").write_text("{}")
    (bytes_base / "merges.txt").write_text("#version: 0.2\n")
    _extend(bytes_base, tmp_path / "out")
    definition = read_json(tmp_path / "out" / "tokenizer.json")["model"]
    assert json.loads((tmp_path / "out" / "vocab.json").read_text()) == definition["vocab"]
    written = (tmp_path / "out" / "merges.txt").read_text().splitlines()[1:]
    assert written == [" ".join(pair) for pair in definition["merges"]]
    assert len(written) == 8


def test_a_script_with_spaces_joins_the_space(bytes_base: Path, tmp_path: Path) -> None:
    texts = ["привет мир, привет дом"] * 30
    out = tmp_path / "out"
    extend_tokenizer(
        bytes_base,
        texts,
        size=40,
        rules=Rules(("Cyrillic",), max_piece_characters=8),
        out=out,
    )
    after = load_encoder(out)
    assert [after.piece_text(index) for index in after.encode("привет мир, привет")] == [
        "привет",
        " мир",
        ",",
        " привет",
    ]
    assert after.encode("plain  text") == load_encoder(bytes_base).encode("plain  text")


@pytest.mark.parametrize("key", ["size", "min_frequency", "max_piece_characters"])
def test_numbers_out_of_range(bytes_base: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(BadInput, match=f"{key}: 0 is too small"):
        _extend(bytes_base, tmp_path / "out", **{key: 0})


def test_the_bases_folder_is_not_overwritten(bytes_base: Path) -> None:
    with pytest.raises(BadInput, match="folder of the base"):
        _extend(bytes_base, bytes_base)


def test_a_base_that_is_not_bpe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    write_json(path, {"model": {"type": "Unigram", "vocab": []}, "added_tokens": []})
    with pytest.raises(BadInput, match=r"tokenizer\.json: a Unigram model; only BPE"):
        _extend(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
