"""F16 files against their folders: same ids, same most likely token, KL.

    python benchmarks/export_parity.py MODEL... [--sentencepiece TOKENIZER --body MODEL]
        [--text FILES] [--type f16] [--json FILE]

Every MODEL is exported and compared with llama.cpp's reading of the file on 1,000 lines and 1,024
positions of the texts. No small trained model with a SentencePiece vocabulary is free, so
`--sentencepiece` adds two under that tokenizer's folder: one with the layers of a trained model,
`--body`, and in each row the mean of that model's rows for the piece's bytes, and one of random
weights, whose logits lie so close together that rounding to F16 turns some of them. The peer is
transformers' own reading of the same folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langraft.checkpoint.bases import resolve_base
from langraft.checkpoint.folder import copy_tokenizer, load_model
from langraft.cli.options import texts_of
from langraft.core.errors import RunFailed
from langraft.export.gguf import export_gguf
from langraft.export.parity import check_export
from langraft.graft.rows import padded
from langraft.graft.starts import subtoken_mean
from langraft.tokenizer.alphabet import to_symbols
from langraft.tokenizer.encoder import load_encoder

TARGET = 0.995


def random_model(tokenizer: Path, folder: Path) -> Path:
    """A random LLaMA with the tokenizer, its rows padded to 64 and beyond."""
    torch.manual_seed(5)
    rows = padded(load_encoder(tokenizer).size + 1, 64)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        initializer_range=0.1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    return folder


def spelled_model(tokenizer: Path, body: Path, folder: Path) -> Path:
    """The trained model `body` with the tokenizer's vocabulary: each row is the mean of the body's
    rows for the piece's text, as a base's new rows begin in a run.
    """
    encoder, own, model = load_encoder(tokenizer), load_encoder(body), load_model(body)

    def spelling(piece: bytes) -> list[int]:
        try:
            return own.encode(piece.decode())
        except UnicodeDecodeError:
            # Bytes that no UTF-8 text has are in no vocabulary but this one.
            return [own.vocabulary.get(to_symbols(bytes([byte])), 0) for byte in piece]

    pieces = [spelling(encoder.piece_bytes(index)) for index in range(encoder.size)]
    rows = subtoken_mean(model.get_input_embeddings().weight.detach(), pieces)
    model.resize_token_embeddings(padded(encoder.size + 1, 64), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()[: encoder.size] = rows
    model.config.bos_token_id = model.generation_config.bos_token_id = encoder.vocabulary["<s>"]
    model.config.eos_token_id = model.generation_config.eos_token_id = encoder.vocabulary["</s>"]
    model.generation_config.pad_token_id = None
    model.save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    return folder


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="*")
    parser.add_argument("--sentencepiece", type=Path)
    parser.add_argument("--body", default="smollm2-135m")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--type", default="f16")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = texts_of(options.text)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folders = {name: resolve_base(name, Path()) for name in options.model}
        if options.sentencepiece:
            named = options.sentencepiece.name
            body = resolve_base(options.body, Path())
            made = spelled_model(options.sentencepiece, body, Path(place) / "spelled")
            folders[f"{options.body} under {named}"] = made
            made = random_model(options.sentencepiece, Path(place) / "random")
            folders[f"random under {named}"] = made
        for name, folder in folders.items():
            file = Path(place) / "model.gguf"
            export_gguf(folder, file, options.type)
            try:
                parity = check_export(folder, file, options.type, texts)
            except RunFailed as error:
                print(f"{name}: {error}")
                continue
            found[name] = dataclasses.asdict(parity)
            verdict = "met" if parity.top_1 >= TARGET else "missed"
            print(
                f"{name}: {parity.same_lines}/{parity.lines} lines with the same ids (transformers "
                f"{parity.transformers_lines}), top-1 {parity.top_1:.2%} of {parity.positions} "
                f"({TARGET:.1%}: {verdict}), KL {parity.mean_kl:.1e}, greedy {parity.greedy}"
            )
            file.unlink()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
