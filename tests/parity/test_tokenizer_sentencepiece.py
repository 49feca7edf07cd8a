"""Our `tokenizer.json` against SentencePiece itself, before and after an extension."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import sentencepiece
from tokenizer_bases import extend_quickly, held_out, lines, sentencepiece_base, train_texts

from langraft.tokenizer.check import HARD_TEXTS
from langraft.tokenizer.encoder import Encoder, load_encoder


def _extend(base: Path, out: Path) -> tuple[Encoder, Encoder]:
    extend_quickly(base, out, size=800, texts=train_texts())
    return load_encoder(base), load_encoder(out)


@pytest.fixture(scope="module")
def llama2(material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Encoder]:
    """LLaMA-2's tokenizer and its extension."""
    folder = tmp_path_factory.mktemp("llama2")
    shutil.copyfile(material / "tokenizers/llama2/tokenizer.model", folder / "tokenizer.model")
    return _extend(folder, folder / "out")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Encoder]:
    """A small base trained by SentencePiece and its extension."""
    folder = tmp_path_factory.mktemp("small")
    return _extend(sentencepiece_base(folder), folder / "out")


def mixed_lines() -> list[str]:
    """English, Chinese, both in one line, and everything that is hard."""
    chinese = [line for text in held_out()[:12] for line in text.splitlines() if line.strip()]
    english = lines("en", 400)
    both = [f"{one}  {two}\t{one[:9]}" for one, two in zip(chinese, english, strict=False)]
    return [*HARD_TEXTS, *chinese[:400], *english, *both[:200]]


def _processor(encoder: Encoder) -> sentencepiece.SentencePieceProcessor:
    folder = encoder.path if encoder.path.is_dir() else encoder.path.parent
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.mark.parametrize("name", ["llama2", "small"])
def test_ids_and_text_are_those_of_sentencepiece(name: str, request: pytest.FixtureRequest) -> None:
    for encoder in request.getfixturevalue(name):
        processor = _processor(encoder)
        texts = mixed_lines()
        assert len(texts) > 900
        assert encoder.size == processor.vocab_size()
        assert encoder.encode_batch(texts) == processor.encode(texts)
        for text in texts[:300]:
            ids = processor.encode(text)
            assert encoder.decode(ids) == processor.decode(ids) == text


@pytest.mark.parametrize("name", ["llama2", "small"])
def test_scores_fall_strictly_below_the_bases(name: str, request: pytest.FixtureRequest) -> None:
    before, after = request.getfixturevalue(name)
    processor = _processor(after)
    scores = [processor.get_score(index) for index in range(after.size)]
    added = scores[before.size :]
    assert len(added) == 800
    assert max(added) < min(scores[: before.size])
    assert all(one > two for one, two in itertools.pairwise(added))


def test_llama2_keeps_ten_thousand_english_lines(llama2: tuple[Encoder, Encoder]) -> None:
    before, after = llama2
    english = [line for line in lines("en", 14_000) if line.isascii()][:10_000]
    assert len(english) == 10_000
    reference = _processor(before).encode(english)
    assert after.encode_batch(english) == reference
    assert _processor(after).encode(english) == reference
