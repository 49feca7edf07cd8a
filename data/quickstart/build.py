"""Build the quickstart texts from a folder of openly licensed corpora.

    python data/quickstart/build.py CORPORA data/quickstart

CORPORA holds `zh/NAME.jsonl.zst` and `en/NAME.jsonl.zst`, one document a line with a `text`. The
choice of documents is a
pure function of the text (its sha256), so the same corpora give the same bytes. ATTRIBUTION.md
names sources and licences.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard

# language -> source -> (UTF-8 bytes to take, what a document's path must hold)
SHARES = {
    "zh": {
        "laws": (3_000_000, ""),
        "how_to_cook": (900_000, ""),
        "d2l_zh": (500_000, ""),
    },
    "en": {
        "openstax_biology": (600_000, ""),
        "openstax_economics": (500_000, ""),
        "openstax_physics": (500_000, ""),
        "rust_book": (400_000, "src/"),
        "pepys_diary": (300_000, ""),
        "wiki_demo": (300_000, ""),
    },
}
MIN_CHINESE = (
    0.5  # share of Han characters below which a Chinese document is mostly code or formulas
)
MAX_DOCUMENT_BYTES = 12_000  # long texts are cut, so that many documents fit the share

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
CODE_BLOCK = re.compile(r"^ *(```|~~~).*?^ *\1 *$\n?", re.S | re.M)
MARKUP = re.compile(
    r"<!--[\s\S]*?-->|<[/a-zA-Z][^>\n]*>|^:(?:label|begin_tab|end_tab).*$|^ *!\[.*$|^ *\|.*$", re.M
)
LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
BLANK = re.compile(r"\n{3,}")


def prose(text: str) -> str:
    """The running text of a Markdown document: no front matter, code blocks, tables, pictures or
    link targets.
    """
    text = FRONT_MATTER.sub("", text.replace("\r\n", "\n"))
    text = (
        LINK.sub(r"\1", MARKUP.sub("", CODE_BLOCK.sub("", text)))
        .replace("(**", "")
        .replace("**)", "")
    )
    return BLANK.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()


def cut(text: str, limit: int) -> str:
    """The start of `text` within `limit` UTF-8 bytes, ending where a paragraph does, or else a
    sentence.
    """
    if len(text.encode()) <= limit:
        return text
    start = text.encode()[:limit].decode(errors="ignore")
    ends = [start.rfind(mark) + len(mark) for mark in ("\n\n", "。", ". ") if mark in start]
    return start[: ends[0] if ends else 0].strip()


def chinese(text: str) -> float:
    """The share of Han characters."""
    return sum("\u4e00" <= character <= "\u9fff" for character in text) / max(1, len(text))


def documents(path: Path) -> Iterator[dict[str, str]]:
    """The documents of one `.jsonl.zst` file."""
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)


def take(path: Path, share: int, within: str, least_chinese: float) -> list[dict[str, str]]:
    """Documents of `path`, ordered by the hash of their text, until `share` bytes are reached."""
    taken, size = [], 0
    found = [d for d in documents(path) if d["path"].startswith(within)]
    candidates = [(cut(prose(d["text"]), MAX_DOCUMENT_BYTES), d["path"]) for d in found]
    keyed = sorted(
        (hashlib.sha256(text.encode()).hexdigest(), text, origin) for text, origin in candidates
    )
    source = path.name.removesuffix(".jsonl.zst")
    for digest, text, origin in keyed:
        if len(text) < 200 or chinese(text) < least_chinese:
            continue
        taken.append(
            {"id": f"{source}-{digest[:16]}", "source": source, "path": origin, "text": text}
        )
        size += len(text.encode())
        if size >= share:
            break
    return taken


def main(corpora: Path, out: Path) -> None:
    """Write `zh.jsonl.zst` and `en.jsonl.zst` into `out` and print their sizes."""
    for language, shares in SHARES.items():
        least = MIN_CHINESE if language == "zh" else 0.0
        records = []
        for name, (share, within) in shares.items():
            records += take(corpora / language / f"{name}.jsonl.zst", share, within, least)
        lines = "".join(
            json.dumps(r, ensure_ascii=False) + "\n"
            for r in sorted(records, key=lambda r: r["id"][-16:])
        )
        packed = zstandard.ZstdCompressor(level=19).compress(lines.encode())
        (out / f"{language}.jsonl.zst").write_bytes(packed)
        raw = sum(len(r["text"].encode()) for r in records)
        print(
            f"{language}: {len(records)} documents, {raw:,} bytes of text, {len(packed):,} packed"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
