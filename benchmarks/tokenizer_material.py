"""The texts that the tokenizer benchmarks read: what is learnt from, what is held out, old text.

Learnt from: modern Chinese of 14 sources, without exact duplicates and without every tenth
document, which is held out. `ruanyf_weekly` and `how_to_cook` are held out whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from langraft.core.io import open_binary

MATERIAL = Path(__file__).resolve().parent.parent.parent / "shared" / "material"
LEARNT = (
    "laws",
    "tidb_docs_cn",
    "java_guide",
    "paddle_docs",
    "oi_wiki",
    "d2l_zh",
    "lctt_zh",
    "classical_modern_translation",
    "fewclue_csl",
    "fewclue_iflytek",
    "fewclue_tnews",
    "noisy_xda_mt",
    "noisy_lifehacker_mt",
    "noisy_reviews",
)
UNSEEN = ("ruanyf_weekly", "how_to_cook")
ENGLISH = "openstax_physics openstax_biology openstax_sociology rust_book pepys_diary nltk_corpora"


def documents(material: Path, language: str, source: str) -> Iterator[str]:
    """The texts of one source."""
    with open_binary(material / "corpora" / language / f"{source}.jsonl.zst") as stream:
        for line in stream:
            yield json.loads(line)["text"]


def learnt(material: Path, megabytes: float = 1e9) -> Iterator[str]:
    """What pieces are learnt from; of less than all the same share of every source."""
    total, seen = 0, set()
    step = max(1, round(205 / megabytes)) if megabytes < 205 else 1
    for source in LEARNT:
        for number, text in enumerate(documents(material, "zh", source)):
            digest = hash(text)
            if number % 10 == 0 or (number // 10) % step or digest in seen:
                continue
            seen.add(digest)
            total += len(text.encode())
            yield text


def held_out(material: Path) -> dict[str, list[str]]:
    """Documents never learnt from: every tenth of the sources learnt from, and whole sources."""
    tenth = [
        text
        for source in LEARNT
        for number, text in enumerate(documents(material, "zh", source))
        if number % 100 == 0
    ]
    learnt_too = {hash(text) for source in LEARNT for text in _rest(material, source)}
    found = {"sources learnt from": [text for text in tenth if hash(text) not in learnt_too]}
    return found | {source: list(documents(material, "zh", source)) for source in UNSEEN}


def _rest(material: Path, source: str) -> Iterator[str]:
    for number, text in enumerate(documents(material, "zh", source)):
        if number % 10:
            yield text


def english_lines(material: Path, count: int) -> list[str]:
    """The first `count` lines of English that are not empty."""
    found = (
        line
        for source in ENGLISH.split()
        for text in documents(material, "en", source)
        for line in text.splitlines()
        if line.strip()
    )
    return [line for line, _ in zip(found, range(count), strict=False)]
