"""F16 files against their folders: same ids, same most likely token, KL.

    python benchmarks/export_parity.py MODEL... [--sentencepiece TOKENIZER] [--text FILES]
        [--type f16] [--json FILE]

Every MODEL is exported and compared with llama.cpp's reading of the file on 1,000 lines and 1,024
positions of the texts. `--sentencepiece` adds a random model (8 layers, weights wide enough that
its logits lie apart) under a SentencePiece tokenizer's folder, since no small trained one is free.
The peer is transformers' own reading of the same folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langraft.checkpoint.bases import resolve_base
from langraft.checkpoint.folder import TOKENIZER_FILES
from langraft.cli.options import texts_of
from langraft.export.gguf import export_gguf
from langraft.export.parity import check_export
from langraft.tokenizer.encoder import load_encoder

TARGET = 0.995


def random_model(tokenizer: Path, folder: Path) -> Path:
    """A random LLaMA with the tokenizer, its rows padded to 64 and beyond."""
    torch.manual_seed(5)
    rows = -(-(load_encoder(tokenizer).size + 1) // 64) * 64
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
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)
    return folder


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="*")
    parser.add_argument("--sentencepiece", type=Path)
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--type", default="f16")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = texts_of(options.text)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folders = {name: resolve_base(name, Path()) for name in options.model}
        if options.sentencepiece:
            made = random_model(options.sentencepiece, Path(place) / "random")
            folders[f"random under {options.sentencepiece.name}"] = made
        for name, folder in folders.items():
            file = Path(place) / "model.gguf"
            export_gguf(folder, file, options.type)
            parity = check_export(folder, file, options.type, texts)
            found[name] = dataclasses.asdict(parity)
            verdict = "met" if parity.top_1 >= TARGET else "missed"
            print(
                f"{name}: {parity.same_lines}/{parity.lines} lines with the same ids (transformers "
                f"{parity.transformers_lines}), top-1 {parity.top_1:.2%} of {parity.positions} "
                f"({TARGET:.1%}: {verdict}), KL {parity.mean_kl:.1e}, greedy {parity.passage_same}"
            )
            file.unlink()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
