"""Tokens per character on held-out quickstart text by vocabulary size, as a Markdown table.

    python benchmarks/tokenizer_sizes.py BASE [BASE ...]

BASE is a model folder or a tokenizer file. Pieces are learnt from nine of ten Chinese documents of
`data/quickstart`; every tenth is measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from langraft.core.io import open_binary
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer

SIZES = (800, 1_024, 1_600, 2_400, 4_000)
DATA = Path(__file__).resolve().parent.parent / "data" / "quickstart" / "zh.jsonl.zst"


def row(base: Path, size: int, learn: list[str], held: list[str]) -> str:
    """One line of the table: extend `base` by `size` pieces and measure."""
    with tempfile.TemporaryDirectory() as out:
        started = time.monotonic()
        found = extend_tokenizer(
            base,
            learn,
            size=size,
            rules=Rules(("Han",)),
            out=Path(out),
        )
        seconds = time.monotonic() - started
        encoder = load_encoder(Path(out))
        ratio = measure(encoder, held)["tokens_per_character"]
        seen = {token for ids in encoder.encode_batch(held) for token in ids}
        added = range(found["base_pieces"], found["base_pieces"] + found["added_pieces"])
        unseen = sum(index not in seen for index in added) / len(added)
    before = measure(load_encoder(base), held)["tokens_per_character"]
    return (
        f"| {size:,} | {before:.3f} | {ratio:.3f} | {before / ratio:.2f} | "
        f"{found['least_frequent']} | {unseen:.1%} | {seconds:.0f} |"
    )


def main(bases: list[str]) -> None:
    """Print one table a base."""
    with open_binary(DATA) as stream:
        documents = [json.loads(line)["text"] for line in stream]
    learn = [text for number, text in enumerate(documents) if number % 10]
    held = documents[::10]
    for base in bases:
        print(f"\n{base}\n")
        print("| pieces | base | extended | times fewer | rarest merge | not seen | seconds |")
        print("|---|---|---|---|---|---|---|")
        for size in SIZES:
            print(row(Path(base), size, learn, held), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
