"""Zero-step bits per byte of every start of new rows, as a Markdown table.

    python benchmarks/graft_zero_step.py [--base smollm2-135m] [--pieces 4000] [--corpus prose]
        [--starts weighted distil ...] [--words cedict.txt] [--tie] [--json OUT]

`--corpus prose` is the Chinese prose lines of a weekly newsletter in the material beside the
repository, `quickstart` the shipped statutes, recipes and textbook. One document in twenty is held
out by its hash and never learnt from, by no method and not by the tokenizer. The peer is the
untouched base on the same text. English is textbook pages, parted in the same way. A killed call
goes on when it is made again; seconds are then those of the last call.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

from graft_bench import english, options, prepare

from langraft.pipeline.one_graft import NEW, OLD, graft_once
from langraft.tokenizer.encoder import load_encoder


def line(name: str, bits: dict[str, float], base: dict[str, float], more: str) -> str:
    """One row of the table."""
    new, old = bits[NEW], bits[OLD]
    return (
        f"| {name} | {new:.3f} | {new / base[NEW]:.3f} | {old:.4f} | {old / base[OLD] - 1:+.2%} | "
        f"{more} |"
    )


def main() -> None:
    """Print the table."""
    arguments = parse()
    ground = prepare(arguments)
    out = ground.place / "scored"
    out.mkdir(exist_ok=True)
    begun = time.monotonic()
    result = graft_once(
        dataclasses.replace(
            ground.wish(out / "model", arguments.starts, arguments.set),
            held=ground.held,
            old_texts=english(arguments.material)[0],
            old_held=english(arguments.material)[1],
            score=True,
            words=arguments.words,
            untie=not arguments.tie,
            max_bytes=arguments.max_bytes,
        )
    )
    seconds = time.monotonic() - begun
    shutil.rmtree(out)
    before, after = load_encoder(ground.base), load_encoder(ground.tokenizer)
    tokens = [sum(map(len, encoder.encode_batch(ground.held))) for encoder in (before, after)]
    print(
        f"\n{arguments.corpus}, {result['added_rows']:,} pieces, {tokens[0] / tokens[1]:.2f} times"
    )
    print(f"fewer tokens; {'tied' if arguments.tie else 'untied'}; {result['covered']}")
    print(f"whole command {seconds:.0f} s\n")
    print("| start | Chinese | / base | English | change | seconds |\n|---|---|---|---|---|---|")
    base_bits: dict[str, Any] = result["base_bits"]
    print(line("untouched base", base_bits, base_bits, ""))
    for row in result["starts"]:
        print(line(row["start"], row["bits"], base_bits, f"{row['seconds']:.1f}"))
    if arguments.json:
        arguments.json.write_text(json.dumps({**result, "seconds": seconds}, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = options(__doc__.splitlines()[0], ["auto"], 12_000)
    parser.add_argument("--words", type=Path)
    parser.add_argument("--tie", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
