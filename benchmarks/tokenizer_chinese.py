"""LLaMA-2 extended for Chinese at the published sizes, against Chinese-LLaMA-2's own tokenizer.

    python benchmarks/tokenizer_chinese.py [--material DIR] [--out DIR] [--json FILE]

Learns once from about 200 MB of modern Chinese, cuts at 55,296 and 69,104 pieces (`<pad>`
included), and measures on text that was not learnt from; then proves both.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from tokenizer_material import MATERIAL, english_lines, held_out, learnt

from langraft.tokenizer.check import check_tokenizer
from langraft.tokenizer.compare import measure, open_counts
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import with_special_token, write_extended
from langraft.tokenizer.learn import Candidates
from langraft.tokenizer.runs import read_corpus
from langraft.tokenizer.scripts import read_scripts

SIZES = (55_296, 69_104)
OLD_LINES = 100_000


def main() -> None:
    """Learn, write, measure, prove; print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--material", type=Path, default=MATERIAL)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--megabytes", type=float, default=1e9, help="learn from less")
    given = parser.parse_args()
    tokenizers = given.material / "tokenizers"
    base_path = tokenizers / "llama2" / "tokenizer.model"
    base = with_special_token(load_encoder(base_path), "<pad>")
    sizes = {size: size - base.size for size in SIZES}
    started = time.monotonic()
    texts = learnt(given.material, given.megabytes)
    corpus = read_corpus(base, texts, read_scripts(["Han"]))
    read = time.monotonic() - started
    candidates = Candidates.of(corpus, max(sizes.values()), 2, 16)
    trained = time.monotonic() - started
    held = held_out(given.material)
    peers = {
        "LLaMA-2": base_path,
        "Chinese-LLaMA-2": tokenizers / "chinese-llama-2-55296/tokenizer.model",
    }
    rows = {name: rates(open_counts(path), held) for name, path in peers.items()}
    published = rows["Chinese-LLaMA-2"]
    found = {
        "characters": corpus.characters,
        "seconds_reading": read,
        "seconds_learning": trained - read,
        "peers": rows,
        "sizes": {},
    }
    show("LLaMA-2", rows["LLaMA-2"], published)
    show("Chinese-LLaMA-2 (55,296)", published, published)
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        for size, pieces in sizes.items():
            at = time.monotonic()
            chosen = candidates.choose(pieces)
            write_extended(base, chosen, out / str(size))
            seconds = time.monotonic() - at
            never = sum(not uses for uses in chosen.uses.values())
            row = rates(load_encoder(out / str(size)), held)
            show(f"langraft ({size:,})", row, published)
            lines = english_lines(given.material, OLD_LINES)
            proofs = check_tokenizer(base_path, out / str(size), lines, held["how_to_cook"])
            for proof in proofs:
                verdict = "holds" if proof.passed else f"FAILS: {proof.counterexample}"
                print(f"  {proof.name}: {verdict}; {proof.checked:,} checked {proof.detail}")
            print(f"  never used in the text learnt from: {never} ({never / pieces:.2%})")
            found["sizes"][size] = {
                "rates": row,
                "never_used": never,
                "share_never_used": never / pieces,
                "least_frequent": chosen.least_frequent,
                "pruned": chosen.pruned,
                "seconds_choosing": seconds,
                "proofs": {p.name: [p.passed, p.checked, p.detail] for p in proofs},
            }
    total = trained + found["sizes"][SIZES[0]]["seconds_choosing"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    found |= {"seconds_to_55296": total, "peak_gigabytes": memory}
    print(
        f"{corpus.characters:,} characters: {total:.0f} s to the first tokenizer, "
        f"peak {memory:.1f} GB"
    )
    if given.json:
        given.json.write_text(json.dumps(found, ensure_ascii=False, indent=1))


def rates(encoder: object, held: dict[str, list[str]]) -> dict[str, float]:
    """Tokens per character on each held-out text."""
    return {name: measure(encoder, texts)["tokens_per_character"] for name, texts in held.items()}


def show(name: str, row: dict[str, float], reference: dict[str, float]) -> None:
    """One line of the table, with the ratio to the published tokenizer."""
    cells = (
        f"{where} {rate:.3f} ({rate / reference[where] - 1:+.1%})" for where, rate in row.items()
    )
    print(f"{name}: " + " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
