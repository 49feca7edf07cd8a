"""Published tokenizers: golden encodings, llama.cpp's own, and the defects known of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizer_bases import extend_quickly, held_out, lines, train_texts

from langraft.core.errors import BadInput
from langraft.tokenizer.append import (
    append_pieces_to,
    extend_by_characters,
    listed_pieces,
    trained_pieces,
    union_pieces,
)
from langraft.tokenizer.check import HARD_TEXTS, Proof, check_tokenizer
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules
from langraft.tokenizer.llama_cpp import llama_cpp_ids, why_not
from langraft.tokenizer.proofs import reachable

BASES = {
    "llama-spm": ["llama2/tokenizer.model", "ggml-vocab/ggml-vocab-llama-spm.gguf"],
    "phi-3": ["llama2/tokenizer.model"],
    "qwen2": ["qwen/qwen.tiktoken"],
}
GOLDEN = [(name, path) for name, paths in BASES.items() for path in paths]
LLAMA2, CHINESE = "llama2/tokenizer.model", "chinese-llama-2-55296/tokenizer.model"


@pytest.fixture(scope="module")
def tokenizers(material: Path) -> Path:
    """The folder of published tokenizers."""
    return material / "tokenizers"


def _golden(folder: Path, name: str) -> tuple[list[str], list[list[int]]]:
    stem = folder / "ggml-vocab" / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{stem}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    wanted = Path(f"{stem}.out").read_text().split("\n")
    return texts, [[int(index) for index in line.split()] for line in wanted]


@pytest.mark.parametrize(("name", "path"), GOLDEN)
def test_golden_encodings_hold(tokenizers: Path, name: str, path: str) -> None:
    texts, wanted = _golden(tokenizers, name)
    assert len(texts) == len(wanted) == 47
    assert load_encoder(tokenizers / path).encode_batch(texts) == wanted


def test_golden_encodings_of_old_text_hold_after_an_extension(
    tokenizers: Path, tmp_path: Path
) -> None:
    extend_quickly(tokenizers / LLAMA2, tmp_path, size=800, texts=train_texts())
    texts, wanted = _golden(tokenizers, "llama-spm")
    after = load_encoder(tmp_path)
    pairs = [(t, w) for t, w in zip(texts, wanted, strict=True) if not _han(t)]
    assert len(pairs) > 40
    assert [after.encode(text) for text, _ in pairs] == [ids for _, ids in pairs]


def _han(text: str) -> bool:
    return any("\u3000" <= character <= "\uffef" for character in text)


@pytest.mark.parametrize("path", [LLAMA2, CHINESE, "ggml-vocab/ggml-vocab-baichuan.gguf"])
def test_llama_cpp_gives_our_ids(tokenizers: Path, path: str) -> None:
    """In Chinese-LLaMA-2 all new pieces have one score, and the leftmost pair goes first."""
    encoder = load_encoder(tokenizers / path)
    assert why_not(encoder) == ""
    chinese = [line for text in held_out()[:10] for line in text.splitlines() if line]
    texts = [*HARD_TEXTS, *chinese[:200], *lines("en", 200)]
    assert len(texts) > 400
    assert llama_cpp_ids(encoder, texts) == encoder.encode_batch(texts)


@pytest.fixture(scope="module")
def published(tokenizers: Path) -> dict[str, Proof]:
    """What the contract says of Chinese-LLaMA-2's published tokenizer."""
    found = check_tokenizer(
        tokenizers / LLAMA2, tokenizers / CHINESE, lines("en", 5_000), held_out()[:40]
    )
    return {proof.name: proof for proof in found}


def test_the_published_tokenizer_keeps_ids_and_english(published: dict[str, Proof]) -> None:
    kept = ("every base piece keeps its id", "old text is encoded as before")
    assert all(published[name].passed for name in kept)
    assert published["llama.cpp gives the same ids"].passed


def test_the_published_tokenizer_has_pieces_that_nothing_produces(
    tokenizers: Path, published: dict[str, Proof]
) -> None:
    before, after = (load_encoder(tokenizers / path) for path in (LLAMA2, CHINESE))
    silent = [after.piece_text(index) for index in reachable(before, after).silent]
    assert len(silent) == 657
    assert {"意大利", "国务院", "西班牙", "<pad>"} <= set(silent)
    proof = published["every added piece can be produced"]
    assert not proof.passed
    assert "657 never" in proof.detail


def test_transformers_reads_bare_models_otherwise(
    tokenizers: Path, published: dict[str, Proof]
) -> None:
    """It orders merges by id; on LLaMA-2 itself double spaces and tabs already differ."""
    assert not published["transformers gives the same ids"].passed
    proofs = check_tokenizer(tokenizers / LLAMA2, tokenizers / LLAMA2, [], held_out()[:40])
    by_name = {proof.name: proof for proof in proofs}
    assert by_name["SentencePiece gives the same ids"].passed
    assert not by_name["transformers gives the same ids"].passed
    assert "lines differ" in by_name["transformers gives the same ids"].detail


def test_the_union_of_2023_has_its_published_size(tokenizers: Path, tmp_path: Path) -> None:
    pieces = union_pieces(tokenizers / "chinese_sp-20000/chinese_sp.model")
    found = append_pieces_to(tokenizers / LLAMA2, pieces, out=tmp_path)
    assert found["base_pieces"] + found["added_pieces"] == 49_953
    assert (found["offered"], found["known"], found["unreachable"]) == (19_997, 2_044, 344)
    after = load_encoder(tmp_path)
    assert after.size == 49_953
    assert after.piece_text(32_000) == pieces(after)[0].replace("▁", " ") or after.size


def test_a_union_without_foreign_and_dead_pieces_keeps_the_contract(
    tokenizers: Path, tmp_path: Path
) -> None:
    found = append_pieces_to(
        tokenizers / LLAMA2,
        union_pieces(tokenizers / "chinese_sp-20000/chinese_sp.model"),
        out=tmp_path,
        rules=Rules(("Han",)),
        reachable_only=True,
        pad_token="<pad>",
    )
    assert found["foreign"] == 968
    after = load_encoder(tmp_path)
    assert after.encode("a<pad>b")[1:-1] == [32_000]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["pad_token"] == "<pad>"
    proofs = check_tokenizer(tokenizers / LLAMA2, tmp_path, lines("en", 1_000), held_out()[:5])
    assert [proof for proof in proofs if not proof.passed] == []


def test_a_union_trained_here(tokenizers: Path, tmp_path: Path) -> None:
    pieces = trained_pieces(train_texts(), 3_000)
    rules = Rules(("Han",))
    found = append_pieces_to(
        tokenizers / LLAMA2, pieces, out=tmp_path, size=1_000, rules=rules, reachable_only=True
    )
    assert found["added_pieces"] == 1_000
    assert found["foreign"] > 20
    with pytest.raises(BadInput, match="size: 90000 pieces cannot be trained"):
        trained_pieces(["短"], 90_000)


def test_a_list_goes_shortest_first(tokenizers: Path, tmp_path: Path) -> None:
    written = tmp_path / "pieces.jsonl"
    names = ["人工智能", "啊呀", "龘", "啊呀", "the", "龖"]
    written.write_text("".join(json.dumps({"piece": name}) + "\n" for name in names))
    found = append_pieces_to(tokenizers / LLAMA2, listed_pieces(written), out=tmp_path / "out")
    after = load_encoder(tmp_path / "out")
    added = [after.piece_text(index) for index in range(32_000, after.size)]
    assert added == ["龘", "龖", "啊呀", "人工智能"]
    assert found["known"] == 1
    assert found["unreachable"] == 2  # 人工, 智能, and 啊 for 啊呀 are no pieces
    written.write_text('{"piece": "好"}\n{"token": "x"}\n')
    with pytest.raises(BadInput, match=r"pieces\.jsonl:2: expected"):
        listed_pieces(written)


def test_characters_alone_reach_the_size_asked_for(tokenizers: Path, tmp_path: Path) -> None:
    found = extend_by_characters(
        tokenizers / LLAMA2, train_texts(), size=900, rules=Rules(("Han",)), out=tmp_path
    )
    after = load_encoder(tmp_path)
    assert found["added_pieces"] == 900
    assert all(len(after.piece_text(index)) == 1 for index in range(32_000, after.size))


def test_pieces_are_not_appended_to_a_byte_level_base(tokenizers: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="SentencePiece models only"):
        append_pieces_to(tokenizers / "qwen/qwen.tiktoken", lambda base: ["好"], out=tmp_path)


def test_wrong_files_are_named(tokenizers: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.tiktoken").write_text("not base64 0\n")
    with pytest.raises(BadInput, match=r"bad\.tiktoken:1: not a line of a tiktoken file"):
        load_encoder(tmp_path / "bad.tiktoken")
    (tmp_path / "bad.gguf").write_bytes(b"nothing of the kind, at all, for 40 bytes")
    with pytest.raises(BadInput, match=r"bad\.gguf: not a GGUF file"):
        load_encoder(tmp_path / "bad.gguf")
