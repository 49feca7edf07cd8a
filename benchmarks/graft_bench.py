"""What the benchmarks of new rows have in common: their text, tokenizers and options."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
from pathlib import Path

from langraft.checkpoint.bases import resolve_base
from langraft.core.io import open_binary
from langraft.pipeline.one_graft import Wish
from langraft.tokenizer.extend import Rules, extend_tokenizer

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = ROOT.parent / "shared" / "material" / "corpora"
HAN = re.compile(r"[\u4e00-\u9fff]")
HELD_SHARE = 13  # of 256


@dataclasses.dataclass(frozen=True)
class Ground:
    """What rows are grafted on.

    Attributes:
        learn, held: Chinese documents to learn from, and those that are scored.
        base, tokenizer: the base's folder and the extended tokenizer's.
        place: keeps what a second call need not make again.
    """

    learn: list[str]
    held: list[str]
    base: Path
    tokenizer: Path
    place: Path

    def wish(self, out: Path, starts: list[str], settings: list[str]) -> Wish:
        """Rows of `starts` on this ground, untied, written to `out`."""
        return Wish(
            base=str(self.base),
            tokenizer=self.tokenizer,
            out=out,
            inits=tuple(starts),
            texts=self.learn,
            untie=True,
            settings=tuple(settings),
        )


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


def prepare(arguments: argparse.Namespace) -> Ground:
    """The ground that `options` ask for; its tokenizer is learnt once."""
    learn, held = chinese(arguments.corpus, arguments.material)
    base = resolve_base(arguments.base, ROOT)
    place = arguments.work / f"{arguments.corpus}-{arguments.pieces}"
    place.mkdir(parents=True, exist_ok=True)
    tokenizer = place / "tokenizer"
    if not (tokenizer / "tokenizer.json").exists():
        extend_tokenizer(base, learn, size=arguments.pieces, rules=Rules(("Han",)), out=tokenizer)
    return Ground(learn, held, base, tokenizer, place)


def options(description: str, starts: list[str], max_bytes: int) -> argparse.ArgumentParser:
    """The options that all of them take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--pieces", type=int, default=4_000)
    parser.add_argument("--corpus", choices=("prose", "quickstart"), default="prose")
    parser.add_argument("--starts", nargs="*", default=starts)
    parser.add_argument("--max-bytes", type=int, default=max_bytes)
    parser.add_argument("--set", nargs="*", default=[], help="key=value of graft.distil")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-graft"))
    parser.add_argument("--material", type=Path, default=MATERIAL)
    parser.add_argument("--json", type=Path)
    return parser
