"""The contract holds for our extensions, and each proof fails on a tokenizer that breaks it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizer_bases import Extension, held_out, lines

from langraft.core.io import read_json, write_json
from langraft.tokenizer.alphabet import to_symbols
from langraft.tokenizer.check import Proof, check_tokenizer, usage
from langraft.tokenizer.encoder import load_encoder

IDS, DOUBLES, OLD, REACH, PARTIAL, ROUND = range(6)


def _check(base: Path, extended: Path) -> list[Proof]:
    return check_tokenizer(base, extended, lines("en", 2000), held_out()[:5])


def test_our_extensions_keep_every_promise(extension: Extension) -> None:
    proofs = _check(extension.base, extension.extended)
    assert [proof for proof in proofs if not proof.passed] == []
    assert [proof.counterexample for proof in proofs] == [""] * len(proofs)
    assert proofs[IDS].checked == len(extension.before.vocabulary)
    assert proofs[DOUBLES].checked == 700
    assert (
        proofs[OLD].checked + int(proofs[OLD].detail.split()[0] if proofs[OLD].detail else 0)
        == 2000
    )
    assert proofs[REACH].checked + proofs[PARTIAL].checked == 700
    assert proofs[REACH].detail.startswith(
        f"{proofs[REACH].checked} on a line of their own, 0 only inside a sentence; "
    )
    assert proofs[ROUND].checked == 25
    referees = [proof.name.removesuffix(" gives the same ids") for proof in proofs[6:]]
    own = ["SentencePiece"] if extension.style == "sentencepiece" else []
    assert referees == [*own, "transformers", "llama.cpp"]
    assert all(proof.checked > 100 for proof in proofs[6:])


@pytest.fixture
def broken(bytes_base: Path, tmp_path: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A base of bytes, a folder for an extension of it, and the definition to break."""
    out = tmp_path / "broken"
    shutil.copytree(bytes_base, out)
    return bytes_base, out, read_json(out / "tokenizer.json")


def _add(definition: dict[str, Any], left: bytes, right: bytes) -> int:
    vocabulary = definition["model"]["vocab"]
    index = vocabulary.setdefault(to_symbols(left + right), len(vocabulary))
    definition["model"]["merges"].append([to_symbols(left), to_symbols(right)])
    return int(index)


def test_changed_english_is_caught(broken: tuple[Path, Path, dict[str, Any]]) -> None:
    base, out, definition = broken
    _add(definition, b"t", b"h")
    write_json(out / "tokenizer.json", definition)
    proof = _check(base, out)[OLD]
    assert not proof.passed
    assert "too many" in proof.counterexample


def test_changed_marks_are_caught(broken: tuple[Path, Path, dict[str, Any]]) -> None:
    """A merge of the tail of one character with the head of the next: raw BPE on bytes does it."""
    base, out, definition = broken
    _add(definition, "文".encode()[2:], "。".encode()[:1])
    write_json(out / "tokenizer.json", definition)
    proofs = _check(base, out)
    assert not proofs[PARTIAL].passed
    assert "bytes 87 e3" in proofs[PARTIAL].counterexample


def test_a_moved_id_is_caught(broken: tuple[Path, Path, dict[str, Any]]) -> None:
    base, out, definition = broken
    vocabulary = definition["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    write_json(out / "tokenizer.json", definition)
    proofs = _check(base, out)
    assert not proofs[IDS].passed
    assert proofs[IDS].counterexample.startswith("'a' had id")
    assert not proofs[OLD].passed


def test_an_unreachable_piece_is_caught(broken: tuple[Path, Path, dict[str, Any]]) -> None:
    """A vocabulary entry without a merge: the usual append of a foreign vocabulary."""
    base, out, definition = broken
    definition["model"]["vocab"][to_symbols("中国".encode())] = 256
    write_json(out / "tokenizer.json", definition)
    proof = _check(base, out)[REACH]
    assert not proof.passed
    assert "id 256, '中国'" in proof.counterexample


def test_a_double_piece_is_caught(broken: tuple[Path, Path, dict[str, Any]]) -> None:
    base, out, definition = broken
    token = {"id": 256, "content": "a", "special": False, "single_word": False}
    definition["added_tokens"] = [token | {"lstrip": False, "rstrip": False, "normalized": False}]
    definition["model"]["vocab"]["a"] = 256
    definition["model"]["vocab"]["ā"] = load_encoder(base).vocabulary["a"]
    write_json(out / "tokenizer.json", definition)
    proof = _check(base, out)[DOUBLES]
    assert not proof.passed
    assert "both spell 'a'" in proof.counterexample


def test_a_lossy_decoder_is_caught(broken: tuple[Path, Path, dict[str, Any]]) -> None:
    base, out, definition = broken
    definition["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": True,
            },
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    write_json(out / "tokenizer.json", definition)
    proof = _check(base, out)[ROUND]
    assert not proof.passed
    assert "comes back as" in proof.counterexample


def test_texts_that_the_base_loses_too_are_left_out(bytes_base: Path) -> None:
    definition = read_json(bytes_base / "tokenizer.json")
    definition["normalizer"] = {"type": "NFC"}
    write_json(bytes_base / "tokenizer.json", definition)
    proof = _check(bytes_base, bytes_base)[ROUND]
    assert proof.passed
    assert proof.detail == "1 texts left out that the base does not give back either"
    assert proof.checked == 24


def test_disagreement_with_sentencepiece_is_caught(scored: Extension, tmp_path: Path) -> None:
    shutil.copytree(scored.extended, tmp_path / "out")
    path = tmp_path / "out" / "tokenizer.json"
    definition = read_json(path)
    definition["normalizer"]["normalizers"] = definition["normalizer"]["normalizers"][1:]
    write_json(path, definition)
    proof = check_tokenizer(scored.base, tmp_path / "out", [], ["我们"])[ROUND + 1]
    assert not proof.passed
    assert proof.counterexample.startswith("token 0 of")


def test_uses_are_counted_in_groups(extension: Extension) -> None:
    found = usage(extension.base, extension.extended, held_out()[:20])
    assert found["pieces"] == 700 == sum(found["groups"].values())
    assert found["never"] == found["groups"]["0"] < 200
    assert found["most"][0][1] > 100
    assert found["least"][-1][1] >= 1
    assert 0.4 < found["share"] < 1


def test_a_file_without_text_is_no_use(extension: Extension) -> None:
    assert usage(extension.base, extension.extended, [])["never"] == 700
