"""The page of a corpus: where the text went, what is left, and samples of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.core.io import write_atomic
from langraft.report.bars import bar_chart
from langraft.report.templates import fill
from langraft.report.words import duration, language, size

PAGE = "corpus.html"
TONES = ("new", "old", "graft", "base", "twin", "limit")


@dataclasses.dataclass(frozen=True)
class Step:
    """One bar of the waterfall; shares are of what was read, 0 to 100, in documents and bytes."""

    name: str
    documents: int
    text: str
    share: float
    lost: int
    lost_share: float
    reasons: str
    changed: str
    bytes_share: float | None


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a whole: its name, count, share from 0 to 100, and the CSS class of its colour."""

    name: str
    count: int
    share: float
    tone: str


def write_corpus_page(found: Mapping[str, Any], page: Path) -> Path:
    """Write what `evaluate_corpus` found as one HTML file that loads nothing and runs no script.

    The same corpus gives the same bytes.

    Raises:
        RunFailed: the page cannot be written.
    """
    write_atomic(page, render(found))
    return page


def render(found: Mapping[str, Any]) -> str:
    """The page's text."""
    return fill(
        "corpus.html",
        name=Path(found["folder"]).resolve().name,
        lede=_lede(found),
        steps=steps(found["steps"]),
        charts=[
            bar_chart(h["title"], h["unit"], h["edges"], h["counts"], h["logarithmic"])
            for h in found["histograms"]
        ],
        languages=_parts(found["languages"], language),
        mixed=found["mixed"],
        grades=_parts(found["grades"]),
        columns=_columns(found),
        rows=_rows(found),
        lines=found["repeated_lines"],
        samples=found["samples"],
        clusters=found["cluster_examples"],
        cluster_sizes=_parts(found["clusters"], lambda n: f"{n} alike"),
        contamination=found["contamination"],
        dropped=_by_reason([e for e in found["dropped"] if not e.get("changed")]),
        changed=_by_reason([e for e in found["dropped"] if e.get("changed")]),
    )


def _lede(found: Mapping[str, Any]) -> str:
    sources = found["sources"].values()
    documents = sum(counts.get("train_documents", 0) for counts in sources)
    kept = sum(counts.get("train_bytes", 0) for counts in sources)
    read = sum(counts.get("read", 0) for counts in sources)
    tokens = sum(look["tokens"] for look in found["looked_at"].values())
    counted = f", {tokens:,} tokens of them counted" if tokens else ""
    return (
        f"{read:,} documents read from {len(found['sources'])} sources; {documents:,} are left to "
        f"train on, {size(kept)} of text{counted}."
    )


def steps(found: Sequence[Mapping[str, Any]]) -> list[Step]:
    """The waterfall: what each step left of what the first one read, in documents."""
    whole = max((int(step["documents"]) for step in found), default=0) or 1
    most = max((int(step.get("bytes", 0)) for step in found), default=0) or 1
    before, made = int(found[0]["documents"]) if found else 0, []
    for step in found:
        left = int(step["documents"])
        lost = max(0, before - left)
        details = [f"{count:,} documents" for count in (left,)]
        if "bytes" in step:
            details.append(size(step["bytes"]))
        if step.get("seconds"):
            details.append(duration(step["seconds"]))
        made.append(
            Step(
                step["step"].replace("_", " "),
                left,
                ", ".join(details),
                round(100 * left / whole, 2),
                lost,
                round(100 * lost / whole, 2),
                _listed(step.get("dropped", {})),
                _listed(step.get("changed", {})),
                round(100 * step["bytes"] / most, 2) if "bytes" in step else None,
            )
        )
        before = left
    return made


def _listed(counts: Mapping[str, int]) -> str:
    """Counts by name in one line, largest first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in ranked if count)


def _parts(counts: Mapping[str, int], name: Any = str, most: int = 8) -> list[Part]:
    total = sum(counts.values()) or 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ranked[most:])
    parts = [(name(key), count) for key, count in ranked[:most]]
    parts += [("others", rest)] if rest else []
    return [
        Part(label, count, round(100 * count / total, 2), TONES[place % len(TONES)])
        for place, (label, count) in enumerate(parts)
    ]


def _columns(found: Mapping[str, Any]) -> list[str]:
    plain = ["documents read", "left to train on", "text", "held out"]
    counted = any(look["tokens"] for look in found["looked_at"].values())
    return plain + (["tokens", "bytes a token", "share of tokens"] if counted else [])


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """The table of sources; token counts are scaled up where only a sample was looked at."""
    looked = found["looked_at"]
    scaled = {}
    for name, counts in found["sources"].items():
        look = looked.get(name, {"bytes": 0, "tokens": 0})
        scaled[name] = round(look["tokens"] * counts["train_bytes"] / max(1, look["bytes"]))
    total = sum(scaled.values())
    rows = []
    for name, counts in found["sources"].items():
        cells = [
            f"{counts.get('read', 0):,}",
            f"{counts['train_documents']:,}",
            size(counts["train_bytes"]),
            size(counts.get("holdout_bytes", 0)),
        ]
        if total:
            tokens = scaled[name]
            cells += [
                f"{tokens:,}",
                f"{counts['train_bytes'] / tokens:.2f}" if tokens else "",
                f"{100 * tokens / total:.1f} %",
            ]
        rows.append((name, language(counts["language"]), cells))
    return rows


def _by_reason(
    examples: Sequence[Mapping[str, Any]], most: int = 3
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """A few examples of every reason to drop a document, in the order in which they come."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for example in examples:
        step = f"{example['step']}: " if "step" in example else ""
        mine = grouped.setdefault(step + str(example["reason"]), [])
        if len(mine) < most:
            mine.append(example)
    return [(reason.replace("_", " "), mine) for reason, mine in grouped.items()]
