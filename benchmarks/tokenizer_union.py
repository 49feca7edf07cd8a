"""Continued BPE against the union of 2023 at equal size, learned on the same text.

    python benchmarks/tokenizer_union.py [--material DIR] [--megabytes 15] [--pieces 23295]

The union trains a SentencePiece unigram model and appends to LLaMA-2 what it lacks, in the model's
order, Han pieces only as Chinese-LLaMA-2 did, until the size is reached.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tokenizer_material import MATERIAL, held_out, learnt

from langraft.tokenizer.append import append_pieces_to, trained_pieces
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer


def main() -> None:
    """Learn both, measure both, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--material", type=Path, default=MATERIAL)
    parser.add_argument("--megabytes", type=float, default=15)
    parser.add_argument("--pieces", type=int, default=23_295)
    parser.add_argument(
        "--candidates",
        type=float,
        default=2.5,
        help="the union's model has so many times the pieces, for the base has some of them, some "
        "are of other scripts, and some nothing produces",
    )
    parser.add_argument("--mixed", action="store_true", help="also measure mixed pieces")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    base = given.material / "tokenizers/llama2/tokenizer.model"
    texts = list(learnt(given.material, given.megabytes))
    held = held_out(given.material)
    rules = Rules(("Han",))
    with tempfile.TemporaryDirectory() as folder:
        places = {"continued": Path(folder) / "continued", "union": Path(folder) / "union"}
        extend_tokenizer(base, texts, size=given.pieces, rules=rules, out=places["continued"])
        if given.mixed:
            places["mixed"] = Path(folder) / "mixed"
            own = Rules(("Han",), mixed=True)
            extend_tokenizer(base, texts, size=given.pieces, rules=own, out=places["mixed"])
        pieces = trained_pieces(texts, int(given.pieces * given.candidates))
        result = append_pieces_to(
            base, pieces, out=places["union"], size=given.pieces, rules=rules, reachable_only=True
        )
        rates = {
            name: {
                where: measure(load_encoder(path), sample)["tokens_per_character"]
                for where, sample in held.items()
            }
            for name, path in places.items()
        }
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"{given.pieces:,} pieces from the same {size:.1f} MB; the union appended "
        f"{result['added_pieces']:,} and left {result['unreachable']:,} unreachable ones out"
    )
    for where, rate in rates["union"].items():
        print(f"{where}: union {rate:.3f}")
        for name, other in rates.items():
            if name != "union":
                print(f"  {name} {other[where]:.3f} ({other[where] / rate - 1:+.1%})")
    if given.json:
        given.json.write_text(
            json.dumps({"rates": rates, "union": result, "megabytes": size}, indent=1)
        )


if __name__ == "__main__":
    main()
