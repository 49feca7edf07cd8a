"""The text that the benchmarks of the corpus run on: passages of the test material in eight shards,
with planted exact and near duplicates, the same bytes every time.

    python benchmarks/corpus_sample.py OUT [--megabytes 200]

One line a document: `{"id", "text"}`. `OUT/planted.json` lists the planted pairs: ids and how they
were made. Documents are runs of paragraphs of 300 to 6,000 characters, about what web pages have.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langraft.core.io import open_binary

MATERIAL = Path(__file__).resolve().parent.parent.parent / "shared" / "material"
CORPORA = (
    *("zh/laws", "zh/lctt_zh", "zh/noisy_xda_mt", "zh/classical_modern_translation"),
    *("zh/chinese_poetry", "zh/noisy_reviews", "zh/fewclue_iflytek", "zh/tidb_docs_cn"),
    *("zh/classical_original", "zh/ruanyf_weekly", "zh/java_guide", "zh/paddle_docs"),
    *("zh/noisy_lifehacker_mt", "zh/oi_wiki", "zh/fewclue_csl", "zh/fewclue_tnews", "zh/d2l_zh"),
    *("en/openstax_physics", "en/nltk_corpora", "en/pepys_diary", "en/openstax_biology"),
)
SHARDS = 8
EXACT, NEAR = 0.04, 0.12  # planted documents per original
MOST_EDITS = 0.045  # of a document's characters


def passages(seed: int) -> Iterator[str]:
    """Runs of paragraphs of the corpora, a corpus at a time."""
    draw = random.Random(seed)
    for name in CORPORA:
        with open_binary(MATERIAL / "corpora" / f"{name}.jsonl.zst") as stream:
            for line in stream:
                part, wanted = "", int(300 * 20 ** draw.random())
                for paragraph in json.loads(line)["text"].split("\n"):
                    part += paragraph + "\n"
                    if len(part) >= wanted:
                        yield part
                        part, wanted = "", int(300 * 20 ** draw.random())
                if part.strip():
                    yield part


def edited(text: str, share: float, draw: random.Random) -> str:
    """`text` with about this share of its characters replaced by other Chinese ones."""
    letters = list(text)
    for _ in range(max(1, round(share * len(letters)))):
        letters[draw.randrange(len(letters))] = chr(draw.randrange(0x4E00, 0x9FA5))
    return "".join(letters)


def make_sample(out: Path, megabytes: int, seed: int = 17) -> dict[str, Any]:
    """Write the sample unless it is there; returns `{"documents", "bytes", "planted"}`."""
    note = out / "planted.json"
    if note.exists():
        return dict(json.loads(note.read_text()))
    draw = random.Random(seed)
    originals = sorted(passages(seed), key=lambda _: draw.random())
    records: list[tuple[str, str]] = []
    planted: list[dict[str, Any]] = []
    size, wanted = 0, megabytes * 1_000_000
    for number, text in enumerate(originals):
        if size >= wanted:
            break
        name = f"d{number}"
        versions = [(name, text)]
        if (kind := draw.random()) < EXACT:
            versions.append((f"{name}-same", text))
            planted.append({"one": name, "two": f"{name}-same", "kind": "exact"})
        elif kind < EXACT + NEAR and len(text) >= 200:
            share = MOST_EDITS * draw.random()
            versions.append((f"{name}-near", edited(text, share, draw)))
            planted.append({"one": name, "two": f"{name}-near", "kind": "near"})
        records += versions
        size += sum(len(version.encode()) for _, version in versions)
    draw.shuffle(records)
    out.mkdir(parents=True, exist_ok=True)
    for shard in range(SHARDS):
        with (out / f"{shard}.jsonl").open("w", encoding="utf-8") as stream:
            for name, text in records[shard::SHARDS]:
                stream.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")
    found = {"documents": len(records), "bytes": size, "planted": planted}
    note.write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    arguments = parser.parse_args()
    made = make_sample(arguments.out, arguments.megabytes)
    print(f"{made['documents']:,} documents, {made['bytes'] / 1e6:.1f} MB of text")
