"""Learning speed against two trainers on the same text, and encoding speed of what is saved.

    python benchmarks/tokenizer_speed.py [--base DIR] [--megabytes 10] [--json FILE]

Each learns the same number of pieces from the same Chinese text on all cores: SentencePiece's BPE
trainer, Hugging Face's byte-level BPE trainer, and continued BPE from LLaMA-2 and, with --base (a
folder with a byte-level tokenizer), from that. Compiling the inner loops, which happens once per
installation, is not counted. Processor time counts all threads: on a busy machine it is the
figure to go by.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizer_material import MATERIAL, documents, english_lines, learnt
from tokenizers import models, pre_tokenizers, trainers

from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer

PIECES = 8_000


def with_sentencepiece(texts: list[str]) -> None:
    """SentencePiece's BPE trainer."""
    lines = (line for text in texts for line in text.splitlines() if line.strip())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=io.BytesIO(),
        model_type="bpe",
        vocab_size=PIECES,
        character_coverage=0.9995,
        byte_fallback=True,
        max_sentence_length=100_000,
        num_threads=2,
        minloglevel=2,
    )


def with_tokenizers(texts: list[str]) -> None:
    """Hugging Face's trainer on bytes, cut as GPT-2 does."""
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + PIECES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)


def continued(base: Path, texts: list[str], out: Path) -> None:
    """Continued BPE, everything included: reading, learning, writing."""
    extend_tokenizer(base, texts, size=PIECES, rules=Rules(("Han",)), out=out)


def both(work: Callable[[], None]) -> tuple[float, float]:
    """Wall time and processor time (of all threads) of `work`."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def encoding(path: Path, texts: list[str]) -> float:
    """MB of UTF-8 a second of processor time, the best of three."""
    encoder = load_encoder(path)
    encoder.encode_batch(texts[:10])
    size = sum(len(text.encode()) for text in texts) / 1e6
    return size / min(both(lambda: encoder.encode_batch(texts))[1] for _ in range(3))


def main() -> None:
    """Time everything, print the ratios, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--material", type=Path, default=MATERIAL)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    texts = list(learnt(given.material, given.megabytes))
    size = sum(len(text.encode()) for text in texts) / 1e6
    bases = {"LLaMA-2": given.material / "tokenizers/llama2/tokenizer.model"}
    bases |= {"byte-level base": given.base} if given.base else {}
    found: dict[str, dict[str, float]] = {"seconds": {}, "processor": {}, "encode": {}}
    chinese = list(documents(given.material, "zh", "ruanyf_weekly"))[::8]
    english = english_lines(given.material, 20_000)
    with tempfile.TemporaryDirectory() as folder:
        for name, base in bases.items():
            continued(base, texts[:50], Path(folder) / "warm")  # compiles
            out = Path(folder) / name
            taken = both(lambda base=base, out=out: continued(base, texts, out))
            found["seconds"][name], found["processor"][name] = taken
            for language, sample in (("Chinese", chinese), ("English", english)):
                before, after = encoding(base, sample), encoding(out, sample)
                found["encode"][f"{name}, {language}"] = after / before
                print(
                    f"encoding {language}, {name}: {before:.1f} MB/s of processor time, "
                    f"extended {after:.1f} ({after / before:.2f} x)"
                )
    for name, trainer in (("SentencePiece", with_sentencepiece), ("tokenizers", with_tokenizers)):
        found["seconds"][name], found["processor"][name] = both(
            lambda trainer=trainer: trainer(texts)
        )
    for kind in ("seconds", "processor"):
        for name, taken in found[kind].items():
            ratios = ", ".join(f"{taken / found[kind][of]:.1f} x {of}" for of in bases)
            print(
                f"{PIECES:,} pieces from {size:.1f} MB, {name}: {taken:.1f} s of {kind}, "
                f"{size / taken:.2f} MB/s ({ratios})"
            )
    if given.json:
        given.json.write_text(json.dumps(found | {"megabytes": size, "pieces": PIECES}, indent=1))


if __name__ == "__main__":
    main()
