"""Runs encoded by the compiled loop get the ids that the base's own program gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_bases import Extension, all_bytes_definition, byte_level_base, documents

from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.sequences import Sequences
from langraft.tokenizer.whole_runs import END, WholeRuns


def _runs(texts: list[str]) -> Sequences:
    found = Sequences()
    for text in texts:
        codes = np.array([ord(character) for character in text], np.int32)
        one = np.ones(1, np.int64)
        found.add(codes, one * 0, one * len(codes), one)
    return found


def _encoded(whole: WholeRuns, runs: Sequences) -> list[list[int]]:
    ids = whole.encode(runs.values[: runs.used], runs.ends[: runs.size])
    cuts = np.flatnonzero(ids == END)
    return [part[part != END].tolist() for part in np.split(ids, cuts[:-1] + 1)]


def _chinese(count: int) -> list[str]:
    """Sentences of the quickstart without their marks."""
    text = "".join(documents("zh")[:20])
    clauses = "".join(c if "\u4e00" <= c <= "\u9fff" else " " for c in text).split()
    return list(dict.fromkeys(clauses))[:count]


def _changed(folder: Path, **model: bool) -> Encoder:
    definition = all_bytes_definition()
    definition["model"] |= model
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    return load_encoder(folder)


def test_qwen_reads_chinese_as_its_own_program_does(material: Path) -> None:
    base = load_encoder(material / "tokenizers/qwen/qwen.tiktoken")
    sentences = _chinese(3_000)
    runs = _runs(sentences)
    whole = WholeRuns(base, "中")
    assert whole.among(runs).all()
    found = _encoded(whole, runs)
    assert found == base.encode_by_merges(sentences)
    assert sum(map(len, found)) < 0.8 * sum(map(len, sentences))  # its merges join characters


@pytest.mark.parametrize(
    ("letter", "texts"),
    [
        ("中", ["我们学习", " 我们", "㐀中", "中"]),
        ("д", ["Россия", " Россия", "ёж", "й"]),
        ("あ", ["カタカナー", "日本語"]),
    ],
)
def test_a_space_in_front_and_other_scripts(tmp_path: Path, letter: str, texts: list[str]) -> None:
    base = load_encoder(byte_level_base(tmp_path, "gpt2"))
    whole = WholeRuns(base, letter)
    runs = _runs(texts)
    assert whole.among(runs).all()
    assert _encoded(whole, runs) == base.encode_by_merges(texts)


def test_what_the_base_parts_is_left_to_it(tmp_path: Path) -> None:
    base = load_encoder(byte_level_base(tmp_path, "gpt2"))
    runs = _runs(["我们", "我，们", "第3章", "我 们", " 们", "我们\u0301"])
    assert WholeRuns(base, "中").among(runs).tolist() == [True, False, False, False, True, False]


@pytest.mark.parametrize(("change", "expected"), [({}, True), ({"ignore_merges": True}, False)])
def test_words_looked_up_before_merging_are_left_to_the_base(
    tmp_path: Path, change: dict[str, bool], expected: bool
) -> None:
    found = WholeRuns(_changed(tmp_path, **change), "中").among(_runs(["我们"]))
    assert found.tolist() == [expected]


def test_an_added_token_inside_the_script_leaves_all_to_the_base(tmp_path: Path) -> None:
    definition = all_bytes_definition()
    definition["added_tokens"] = [
        {"id": 256, "content": "学习", "special": False, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
    ]  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    assert not WholeRuns(load_encoder(tmp_path), "中").among(_runs(["我们学习"])).any()


def test_a_normalizer_that_changes_a_character_is_respected(tmp_path: Path) -> None:
    definition = all_bytes_definition() | {"normalizer": {"type": "NFC"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    runs = _runs(["我们", "\uf900"])  # a compatibility ideograph, which NFC rewrites
    assert WholeRuns(load_encoder(tmp_path), "中").among(runs).tolist() == [True, False]


def test_sentencepiece_and_no_runs_at_all(scored: Extension, bytes_base: Path) -> None:
    assert WholeRuns(load_encoder(scored.base), "中").among(_runs(["我们"])).tolist() == [False]
    assert WholeRuns(load_encoder(bytes_base), "中").among(Sequences()).shape == (0,)


@pytest.fixture(scope="module")
def qwen_like(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A byte-level base with merges, cut as Llama-3 cuts."""
    return load_encoder(byte_level_base(tmp_path_factory.mktemp("base"), "gpt2"))


@given(st.lists(st.text("中国人民共和的я éπ", min_size=1, max_size=9), min_size=1, max_size=9))
def test_any_run_found_whole_is_encoded_as_by_the_base(
    qwen_like: Encoder, texts: list[str]
) -> None:
    whole = WholeRuns(qwen_like, "中")
    distinct = list(dict.fromkeys(texts))
    chosen = whole.among(_runs(distinct))
    kept = [text for text, one in zip(distinct, chosen, strict=True) if one]
    if kept:
        assert _encoded(whole, _runs(kept)) == qwen_like.encode_by_merges(kept)
