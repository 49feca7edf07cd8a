"""Look at a built corpus: what each step did to each source, and what its documents look like."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.core.messages import table
from langraft.corpus.account import SNIPPET
from langraft.corpus.documents import read_documents
from langraft.corpus.finishing import COUNTS, DROPPED, SUFFIX, TRAIN

SAMPLES = 3


def inspect_corpus(folder: Path, samples: int = SAMPLES) -> dict[str, Any]:
    """Everything there is to say about the corpus in `folder`, JSON-able.

    Returns:
        `{"folder", "sources": the counts of build_corpus, "samples": {source: [{"id", "text"}]},
        "dropped": [examples]}`. Samples are the first training documents in the order of their
        hashes, their text cut to 200 characters.

    Raises:
        BadInput: the folder holds no corpus.
    """
    if not (folder / COUNTS).is_file():
        raise BadInput(
            f"{folder}: holds no corpus ({COUNTS} is missing); make one with langraft corpus build"
        )
    sources = read_json(folder / COUNTS)["sources"]
    return {
        "folder": str(folder),
        "sources": sources,
        "samples": {
            name: _samples(folder / TRAIN / f"{name}{SUFFIX}", samples) for name in sources
        },
        "dropped": [
            json.loads(line) for line in (folder / DROPPED).read_text(encoding="utf-8").splitlines()
        ],
    }


def _samples(path: Path, samples: int) -> list[dict[str, str]]:
    documents = itertools.islice(read_documents(path), samples)
    return [{"id": document.id, "text": document.text[:SNIPPET]} for document in documents]


def show_corpus(report: Mapping[str, Any]) -> RenderableType:
    """What `inspect_corpus` returned, for the terminal: documents by source and step, drops by
    reason, samples.
    """
    sources = report["sources"]
    parts: list[RenderableType] = [_steps(report["folder"], sources)]
    if any(counts["dropped"] for counts in sources.values()):
        parts.append(_reasons(sources, report["dropped"]))
    for name, documents in report["samples"].items():
        parts.append(Text(f"\n{name}: first documents", style="bold"))
        parts.extend(_sample(document["id"], document["text"]) for document in documents)
    return Group(*parts)


def _steps(folder: str, sources: Mapping[str, Any]) -> Table:
    columns = [
        "source",
        "language",
        "bucket",
        "read",
        "malformed",
        "by rules",
        "duplicates",
        "train",
        "hold-out",
    ]
    rows = [
        [
            name,
            counts["language"],
            counts["bucket"],
            f"{counts['read']:,}",
            f"{counts['malformed']:,}",
            f"{sum(counts['dropped'].values()):,}",
            f"{counts['duplicates']:,}",
            f"{counts['train_documents']:,} ({counts['train_bytes'] / 1e6:,.2f} MB)",
            f"{counts['holdout_documents']:,} ({counts['holdout_bytes'] / 1e6:,.2f} MB)",
        ]
        for name, counts in sources.items()
    ]
    return table(f"Documents in {folder}", columns, rows)


def _reasons(sources: Mapping[str, Any], examples: Iterable[Mapping[str, Any]]) -> Table:
    first = {(e["source"], e["reason"]): e for e in reversed(list(examples))}
    rows = []
    for name, counts in sources.items():
        for reason, count in counts["dropped"].items():
            example = first[name, reason]
            measured = (
                f"{example['value']:.3g} (limit {example['limit']:.3g})"
                if "value" in example
                else ""
            )
            rows.append([name, reason, f"{count:,}", measured, example["place"]])
    return table(
        f"Dropped by rules; examples in {DROPPED}",
        ["source", "reason", "documents", "first", "where"],
        rows,
    )


def _sample(name: str, text: str) -> Text:
    return Text.assemble((f"  {name}  ", "dim"), text.replace("\n", " "))
