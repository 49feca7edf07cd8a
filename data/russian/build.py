"""Make `ru.jsonl.zst` anew from Debian's package: `apt-get download debian-handbook`, then
`python data/russian/build.py debian-handbook_11*.deb`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import zstandard

from langraft.corpus.html import plain

PLACE = "usr/share/doc/debian-handbook/html/ru-RU"
CYRILLIC, WORD = re.compile("[а-яё]", re.I), re.compile(r"[^\W\d_]")
CONTENTS = re.compile(r"(\d+\.){2,}\d*\.? .*(\d+\.){2,}")  # a table of contents in one line
SHORTEST_LINE, SHORTEST_TEXT, LONGEST_TEXT = 60, 400, 6_000


def russian_lines(html: bytes) -> list[str]:
    """Paragraphs that are translated: most of their letters are Cyrillic."""
    found = []
    for line in (plain(html) or "").splitlines():
        text = " ".join(line.split())
        most = 2 * len(CYRILLIC.findall(text)) > len(WORD.findall(text))
        if len(text) >= SHORTEST_LINE and most and not CONTENTS.search(text):
            found.append(text)
    return found


def pieces(lines: list[str]) -> list[str]:
    """Texts of whole paragraphs, none much longer than `LONGEST_TEXT` characters."""
    found: list[list[str]] = [[]]
    for line in lines:
        if sum(map(len, found[-1])) + len(line) > LONGEST_TEXT and found[-1]:
            found.append([])
        found[-1].append(line)
    return ["\n\n".join(part) for part in found if sum(map(len, part)) >= SHORTEST_TEXT]


def main() -> None:
    """Write the file beside this script."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", sys.argv[1], folder], check=True)
        records = [
            {"id": f"{path.stem}-{n}", "source": "debian_handbook", "path": path.name, "text": text}
            for path in sorted((Path(folder) / PLACE).glob("*.html"))
            for n, text in enumerate(pieces(russian_lines(path.read_bytes())))
        ]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    packed = zstandard.ZstdCompressor(level=19).compress(lines.encode())
    (Path(__file__).parent / "ru.jsonl.zst").write_bytes(packed)
    size = sum(len(record["text"].encode()) for record in records)
    print(f"{len(records)} documents, {size:,} bytes of text, {len(packed):,} packed")


if __name__ == "__main__":
    main()
