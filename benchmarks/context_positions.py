"""Bits per byte by position of a model stretched 2x and 4x, with and without each method.

    python benchmarks/context_positions.py [--trained 2048] [--steps 400] [--work DIR] [--json OUT]

No base model trained at 2K or 4K comes as a package, so a tiny one is trained here first, on
English textbook pages, at 2,048 positions (four layers of width 192, 2,048 pieces, RoPE base
10,000), and kept in `--work`. The peer of every method is the model left as it is.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from langraft.core.io import open_binary
from langraft.core.messages import track
from langraft.evals.positions import bits_by_position, edges, stretches
from langraft.graft.context import METHODS, extend_context
from langraft.tokenizer.encoder import load_encoder

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = ROOT.parent / "shared" / "material" / "corpora"
VOCABULARY, BATCH_TOKENS = 2_048, 4_096
TEXTS = 24


def documents(material: Path) -> tuple[list[str], list[str]]:
    """Textbook pages laid end to end in long documents: to learn from, and held out."""
    with open_binary(material / "en" / "openstax_biology.jsonl.zst") as stream:
        texts = [json.loads(line)["text"] for line in stream]
    joined = ["\n\n".join(texts[i : i + 4]) for i in range(0, len(texts), 4)]
    return [t for i, t in enumerate(joined) if i % 8], joined[::8]


def train(folder: Path, texts: list[str], trained: int, steps: int) -> None:
    """A tiny model that has only ever seen `trained` positions."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=trained,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    ids = torch.tensor([t for found in tokenizer.encode_batch(texts) for t in [0, *found.ids]])
    learner = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(learner, 3e-3, total_steps=steps, pct_start=0.1)
    generator, rows = torch.Generator().manual_seed(1), max(1, BATCH_TOKENS // trained)
    for _ in track(range(steps), f"training at {trained} positions", total=steps, unit="steps"):
        starts = torch.randint(len(ids) - trained, (rows,), generator=generator)
        batch = torch.stack([ids[s : s + trained] for s in starts])
        loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        learner.step()
        schedule.step()
        learner.zero_grad(set_to_none=True)
    model.save_pretrained(folder)


def main() -> None:
    """Train unless it is done, then print one table a length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trained", type=int, default=2_048)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-context"))
    parser.add_argument("--material", type=Path, default=MATERIAL)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    trained = arguments.trained
    learn, held = documents(arguments.material)
    base = arguments.work / f"trained-{trained}-{arguments.steps}"
    if not (base / "model.safetensors").exists():
        train(base, learn, trained, arguments.steps)
    encoder = load_encoder(base)
    found: dict[str, Any] = {}
    for times in (2, 4):
        length = times * trained
        bounds = edges(length, 2 * times)
        texts = stretches(encoder.encode_batch(held), 0, length, TEXTS)
        print(f"\n{times}x, {len(texts)} texts of {length} tokens\n")
        spans = [f"{a} to {b - 1}" for a, b in itertools.pairwise(bounds)]
        print("| method | " + " | ".join(spans) + " |\n" + "|---" * (len(spans) + 1) + "|")
        for method in ("none", *METHODS):
            folder = base
            if method != "none":
                folder = arguments.work / f"{base.name}-{method}-{times}x"
                if not folder.exists():
                    extend_context(base, method, None if method == "auto" else length, folder)
            model = AutoModelForCausalLM.from_pretrained(folder).eval()
            scores = bits_by_position(model, texts, encoder.byte_lengths.tolist(), bounds)
            found[f"{method} {times}x"] = [round(span.per_byte, 4) for span in scores]
            cells = " | ".join(f"{span.per_byte:.3f}" for span in scores)
            print(f"| {method} | {cells} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
