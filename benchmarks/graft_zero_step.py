"""Zero-step bits per byte of every start of new rows, as a Markdown table.

    python benchmarks/graft_zero_step.py [--base smollm2-135m] [--pieces 4000] [--corpus prose]
        [--starts weighted distil ...] [--words cedict.txt] [--tie] [--json OUT]

`--corpus prose` is the Chinese prose lines of a weekly newsletter in the material beside the
repository, `quickstart` the shipped statutes, recipes and textbook. One document in twenty is held
out by its hash and never learnt from, by no method and not by the tokenizer. The peer is the
untouched base on the same text. English is told on held-out textbook pages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from langraft.checkpoint.bases import resolve_base
from langraft.core.io import open_binary
from langraft.pipeline.one_graft import NEW, OLD, Wish, graft_once
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = ROOT.parent / "shared" / "material" / "corpora"
HAN = re.compile(r"[\u4e00-\u9fff]")
HELD_SHARE = 13  # of 256


def documents(path: Path) -> list[str]:
    """The texts of a `jsonl.zst` file."""
    with open_binary(path) as stream:
        return [json.loads(line)["text"] for line in stream]


def prose(text: str) -> str:
    """Its lines that are long, mostly Han and hold no link: what is left is running text."""
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(
        line
        for line in lines
        if len(line) >= 20
        and "http" not in line
        and len(HAN.findall(line)) > 0.7 * len(line)
        and not line.startswith(("这里记录每周", "本杂志", "周刊讨论区"))
    )


def split(texts: list[str]) -> tuple[list[str], list[str]]:
    """Documents to learn from, and those held out."""
    held = [hashlib.sha256(text.encode()).digest()[0] < HELD_SHARE for text in texts]
    pairs = list(zip(texts, held, strict=True))
    return [t for t, h in pairs if not h], [t for t, h in pairs if h]


def chinese(corpus: str, material: Path) -> tuple[list[str], list[str]]:
    """The corpus in two parts; scored from a third of each document on, past how all begin."""
    if corpus == "quickstart":
        texts = documents(ROOT / "data" / "quickstart" / "zh.jsonl.zst")
    else:
        texts = [prose(text) for text in documents(material / "zh" / "ruanyf_weekly.jsonl.zst")]
    learn, held = split([text for text in texts if len(text) > 300])
    return learn, [text[len(text) // 3 :] for text in held]


def english(material: Path) -> tuple[list[str], list[str]]:
    """Textbook pages, in two parts."""
    return split(documents(material / "en" / "openstax_biology.jsonl.zst"))


def extended(base: Path, learn: list[str], pieces: int, place: Path) -> Path:
    """The extended tokenizer, learnt once into `place`."""
    if not (place / "tokenizer.json").exists():
        extend_tokenizer(base, learn, size=pieces, rules=Rules(("Han",)), out=place)
    return place


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
    material = arguments.material
    learn, held = chinese(arguments.corpus, material)
    base = resolve_base(arguments.base, ROOT)
    place = arguments.work / f"{arguments.corpus}-{arguments.pieces}"
    place.mkdir(parents=True, exist_ok=True)
    tokenizer = extended(base, learn, arguments.pieces, place / "tokenizer")
    out = Path(tempfile.mkdtemp(dir=place))
    begun = time.monotonic()
    result = graft_once(
        Wish(
            base=str(base),
            tokenizer=tokenizer,
            out=out / "model",
            inits=tuple(arguments.starts),
            texts=learn,
            held=held,
            old_texts=english(material)[1],
            score=True,
            words=arguments.words,
            untie=not arguments.tie,
            max_bytes=arguments.max_bytes,
            settings=tuple(arguments.set),
        )
    )
    seconds = time.monotonic() - begun
    shutil.rmtree(out)
    before, after = load_encoder(base), load_encoder(tokenizer)
    tokens = [sum(map(len, encoder.encode_batch(held))) for encoder in (before, after)]
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--pieces", type=int, default=4_000)
    parser.add_argument("--corpus", choices=("prose", "quickstart"), default="prose")
    parser.add_argument("--starts", nargs="*", default=["auto"])
    parser.add_argument("--words", type=Path)
    parser.add_argument("--tie", action="store_true")
    parser.add_argument("--max-bytes", type=int, default=12_000)
    parser.add_argument("--set", nargs="*", default=[], help="key=value of graft.distil")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-graft"))
    parser.add_argument("--material", type=Path, default=MATERIAL)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
