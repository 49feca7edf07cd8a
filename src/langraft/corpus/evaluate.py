"""Data evaluation: what a built corpus looks like, in numbers that a page or a terminal can show.

Read from the folder that `langraft corpus build` writes. Only `counts.json` and `train/` must be
there; every other part is shown where the build left it:

- `counts.json`: `sources` as `build_corpus` returns them, and `steps`, a list of `{"step",
  "documents", "bytes", "seconds", "dropped": {reason: documents}, "changed": {what: count}}`, each
  with what was left after the step.
- `train/SOURCE.jsonl.zst`: documents; their `meta` may hold `language`, `shares` (of a mixed
  document), `score` (`{scorer: number}`) and `cluster` (how many documents it stands for).
- `samples.jsonl`: `{"source", "id", "before", "after"}`, texts before and after normalisation.
- `clusters.jsonl`: `{"size", "kept", "dropped": [text, ...]}`, near-duplicates.
- `contamination.jsonl`: `{"suite", "item", "document", "share", "text"}`, benchmark hits.
- `dropped.jsonl`: examples of what the rules dropped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.core.manifest import read_manifest
from langraft.core.messages import bar
from langraft.corpus.documents import Document, read_documents

COUNTS, DROPPED, TRAIN, SUFFIX = "counts.json", "dropped.jsonl", "train", ".jsonl.zst"
SAMPLES, CLUSTERS, HITS = "samples.jsonl", "clusters.jsonl", "contamination.jsonl"
BYTES = 200_000_000  # of each source; documents lie in the order of hashes: the first are a sample
GLANCE = 2_000_000  # the same for the page that comes with a build
SHOWN = 12
SNIPPET = 600  # characters
SHORTEST_LINE = 10  # characters; shorter lines repeat without harm
MOST_LINES = 1_000_000  # kept apart at a time
BINS = 24

CountTokens = Callable[[Sequence[str]], Sequence[int]]


@dataclasses.dataclass
class Histogram:
    """Counts over equal bins, of values or of their powers of two."""

    title: str
    unit: str
    edges: list[float]
    counts: list[int]
    logarithmic: bool = False


class RepeatedLines:
    """The lines that most documents share, in bounded memory.

    Lines are counted by hash. When more than `most` are kept apart, those seen once are forgotten,
    so a line's count may be low by the number of such sweeps.
    """

    def __init__(self, most: int = MOST_LINES) -> None:
        self._most = most
        self._counts: Counter[bytes] = Counter()
        self._texts: dict[bytes, str] = {}

    def add(self, text: str) -> None:
        """Count a document's distinct lines."""
        for line in {stripped for raw in text.split("\n") if (stripped := raw.strip())}:
            if len(line) >= SHORTEST_LINE:
                key = hashlib.blake2b(line.encode(), digest_size=8).digest()
                self._counts[key] += 1
                if self._counts[key] == 2:
                    self._texts[key] = line[:SNIPPET]
        if len(self._counts) > self._most:
            self._counts = Counter({key: n for key, n in self._counts.items() if n > 1})

    def top(self, count: int) -> list[dict[str, Any]]:
        """`{"line", "documents"}` of the lines in most documents, those in two or more."""
        ranked = sorted(self._texts, key=lambda key: (-self._counts[key], self._texts[key]))
        return [
            {"line": self._texts[key], "documents": self._counts[key]} for key in ranked[:count]
        ]


class Look:
    """What is gathered from the documents of one source or of all."""

    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0
        self.tokens = 0
        self.lengths: list[int] = []
        self.languages: Counter[str] = Counter()
        self.mixed: Counter[str] = Counter()
        self.scores: dict[str, list[float]] = {}
        self.grades: Counter[str] = Counter()
        self.clusters: Counter[int] = Counter()

    def add(self, document: Document, tokens: int) -> None:
        """Count one document."""
        self.documents += 1
        self.bytes += len(document.text.encode())
        self.tokens += tokens
        self.lengths.append(len(document.text))
        meta = document.meta
        self.languages[str(meta.get("language", document.language))] += 1
        if shares := meta.get("shares"):
            self.mixed["+".join(sorted(shares))] += 1
        scores = meta.get("score", {})
        for name, value in (scores if isinstance(scores, Mapping) else {"score": scores}).items():
            self.scores.setdefault(str(name), []).append(float(value))
        if "grade" in meta:
            self.grades[str(meta["grade"])] += 1
        if int(meta.get("cluster", 1)) > 1:
            self.clusters[int(meta["cluster"])] += 1


def evaluate_corpus(
    folder: Path, count_tokens: CountTokens | None = None, most_bytes: int = BYTES
) -> dict[str, Any]:
    """Everything that the page shows, JSON-able.

    Args:
        folder: what `build_corpus` wrote.
        count_tokens: the numbers of tokens of some texts, if tokens are to be counted.
        most_bytes: how much of each source's training text is looked at.

    Returns:
        `{"folder", "sources", "steps", "histograms", "languages", "mixed", "grades", "clusters",
        "repeated_lines", "samples", "cluster_examples", "contamination", "dropped", "looked_at"}`.

    Raises:
        BadInput: the folder holds no corpus.
    """
    if not (folder / COUNTS).is_file():
        raise BadInput(
            f"{folder}: holds no corpus ({COUNTS} is missing); make one with langraft corpus build"
        )
    counts = read_json(folder / COUNTS)
    looks: dict[str, Look] = {}
    lines, samples = RepeatedLines(), []
    with bar("sources") as progress:
        task = progress.add_task("looking at the corpus", total=len(counts["sources"]), note="")
        for name in counts["sources"]:
            looks[name] = Look()
            for number, document in enumerate(
                _documents(folder / TRAIN / f"{name}{SUFFIX}", most_bytes)
            ):
                tokens = count_tokens([document.text])[0] if count_tokens else 0
                looks[name].add(document, tokens)
                lines.add(document.text)
                if number < 2:
                    samples.append(_sample(document))
            progress.advance(task)
    hits = _json_lines(folder / HITS)
    clusters = _json_lines(folder / CLUSTERS)
    return {
        "folder": str(folder),
        "looked_at": {name: _totals(look) for name, look in looks.items()},
        "sources": counts["sources"],
        "steps": _with_seconds(folder, counts.get("steps") or _steps(counts["sources"])),
        "histograms": [dataclasses.asdict(h) for h in _histograms(list(looks.values()))],
        "languages": _total(look.languages for look in looks.values()),
        "mixed": _total(look.mixed for look in looks.values()),
        "grades": _total(look.grades for look in looks.values()),
        "clusters": _total(look.clusters for look in looks.values()),
        "repeated_lines": lines.top(SHOWN),
        "samples": _from_every_source(_json_lines(folder / SAMPLES)) or samples,
        "cluster_examples": sorted(clusters, key=lambda found: -found["size"])[:SHOWN],
        "contamination": _contamination(hits),
        "dropped": list(_json_lines(folder / DROPPED)),
    }


def _documents(path: Path, most_bytes: int) -> Iterator[Document]:
    size = 0
    for document in read_documents(path) if path.is_file() else ():
        size += len(document.text.encode())
        yield document
        if size >= most_bytes:
            return


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise BadInput(f"{path}: not JSON lines ({error})") from error


def _from_every_source(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`SHOWN` samples: the first of every source, then the second of every source, and so on."""
    seen: Counter[str] = Counter()
    rounds = []
    for place, sample in enumerate(samples):
        rounds.append((seen[sample["source"]], place))
        seen[sample["source"]] += 1
    return [samples[place] for _, place in sorted(rounds)[:SHOWN]]


def _sample(document: Document) -> dict[str, str]:
    return {"source": document.source, "id": document.id, "after": document.text[:SNIPPET]}


def _totals(look: Look) -> dict[str, Any]:
    """One source's totals: documents, bytes and tokens that were looked at."""
    return {"documents": look.documents, "bytes": look.bytes, "tokens": look.tokens}


def _total(counters: Iterable[Counter[Any]]) -> dict[str, int]:
    total: Counter[Any] = Counter()
    for counter in counters:
        total += counter
    return {str(key): count for key, count in total.most_common()}


def _steps(sources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The waterfall of a build that kept only totals: documents left after each kind of loss."""

    def total(key: str) -> int:
        return sum(int(counts.get(key, 0)) for counts in sources.values())

    reasons: Counter[str] = Counter()
    for counts in sources.values():
        reasons.update(counts.get("dropped", {}))
    left = total("read")
    steps: list[dict[str, Any]] = [{"step": "read", "documents": left, "dropped": {}}]
    for step, lost in (
        ("rules", {key: n for key, n in reasons.items() if key != "near_holdout"}),
        ("duplicates", {"duplicate": total("duplicates")}),
        ("near the hold-out", {"near_holdout": reasons["near_holdout"]}),
        ("hold-out", {"held out": total("holdout_documents")}),
    ):
        left -= sum(lost.values())
        steps.append(
            {"step": step, "documents": left, "dropped": {k: n for k, n in lost.items() if n}}
        )
    steps[-1]["bytes"] = total("train_bytes")
    return steps


def _with_seconds(folder: Path, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps with the CPU-seconds that the stage's manifest has of them, where there is one."""
    manifest = read_manifest(folder)
    spent = manifest["results"].get("seconds", {}) if manifest else {}
    return [{**step, "seconds": spent.get(step["step"], 0.0)} for step in steps]


def _histograms(looks: Sequence[Look]) -> Iterator[Histogram]:
    lengths = [length for look in looks for length in look.lengths]
    if lengths:
        yield histogram("Length", "characters a document", lengths, logarithmic=True)
    for name in sorted({name for look in looks for name in look.scores}):
        values = [value for look in looks for value in look.scores.get(name, ())]
        positive = min(values) > 0
        wide = positive and max(values) > 100 * sorted(values)[len(values) // 2]
        yield histogram(f"Score: {name}", name.replace("_", " "), values, logarithmic=wide)


def histogram(
    title: str, unit: str, values: Sequence[float], logarithmic: bool = False
) -> Histogram:
    """Count `values` in `BINS` bins, or, if `logarithmic`, by powers of two.

    Raises:
        ValueError: there are no values.
    """
    if logarithmic:
        powers = [max(0, math.floor(math.log2(max(value, 1)))) for value in values]
        first, last = min(powers), max(powers)
        found = Counter(powers)
        edges = [2.0**power for power in range(first, last + 2)]
        return Histogram(title, unit, edges, [found[p] for p in range(first, last + 1)], True)
    low, high = float(min(values)), float(max(values))
    width = (high - low) / BINS or 1.0
    found = Counter(min(BINS - 1, int((value - low) / width)) for value in values)
    edges = [low + width * number for number in range(BINS + 1)]
    return Histogram(title, unit, edges, [found[number] for number in range(BINS)])


def _contamination(hits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    suites: dict[str, dict[str, int]] = {}
    for suite in sorted({str(hit["suite"]) for hit in hits}):
        mine = [hit for hit in hits if hit["suite"] == suite]
        suites[suite] = {
            "items": len({hit["item"] for hit in mine}),
            "documents": len({hit.get("document") for hit in mine}),
        }
    return {"suites": suites, "examples": [dict(hit) for hit in hits[:SHOWN]]}
