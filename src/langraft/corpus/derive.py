"""Thresholds for a language that has no table, from a clean sample of its text.

FineWeb-2 (Penedo et al. 2025, arXiv 2506.20920, section 3.3) keeps English rules and finds each
language's limits on its Wikipedia: where a rule's English limit cuts off a share of clean English,
the limit that cuts off the same share of the clean sample takes its place; otherwise the tail of
the sample does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from langraft.core.errors import BadInput
from langraft.core.messages import table
from langraft.corpus.clean import clean
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.rules import RULES, TABLES, measured
from langraft.recipe import Clean

LEAST = 50  # documents: fewer say nothing about a tail
SMALLEST = 0.001  # a sample without a fault says only that the fault is rare


def derive(
    texts: Sequence[str],
    scripts: tuple[str, ...],
    english: Sequence[str] = (),
    tail: float = 0.01,
) -> dict[str, Any]:
    """A limit for every rule, rounded to four digits.

    Args:
        texts: clean documents of the language.
        scripts: its scripts; without any, their share is not limited.
        english: clean English documents; a rule of the English table then takes over the share that
            its limit cuts off there.
        tail: the share of clean documents that any other rule may drop.

    Returns:
        `{"documents", "thresholds": {rule: limit}, "from": {rule: "english" or "tail"}}`.

    Raises:
        BadInput: a sample is too small, or `tail` is not between 0 and 0.5.
    """
    if not 0 < tail < 0.5:
        raise BadInput(f"--tail {tail}: a share between 0 and 0.5 was expected")
    for name, sample in (("--text", texts), ("--english", english)):
        if len(sample) < LEAST and (sample or name == "--text"):
            raise BadInput(f"{name}: {len(sample)} documents; {LEAST} clean ones are the least")
    keys = [key for key in RULES if scripts or key != "min_script_share"]
    own = measured(clean(Texts.of(texts), Clean()), keys, scripts)
    rows = {row.key: row.limit for row in TABLES["en"].rows} if english else {}
    there = measured(clean(Texts.of(english), Clean()), keys, ("Latin",)) if english else own
    limits, origin = {}, {}
    for column, key in enumerate(keys):
        lower = key.startswith("min_")
        share = tail
        origin[key] = "tail"
        if key in rows:
            beyond = there[:, column] < rows[key] if lower else there[:, column] > rows[key]
            if beyond.any():
                share, origin[key] = float(beyond.mean()), "english"
        value = float(np.quantile(own[:, column], share if lower else 1 - share))
        limits[key] = round(value if lower else max(value, SMALLEST), 4)
    return {"documents": len(texts), "thresholds": limits, "from": origin}


def show(found: Mapping[str, Any]) -> Table:
    """What `derive` found, for the terminal."""
    rows = [(key, f"{limit:g}", found["from"][key]) for key, limit in found["thresholds"].items()]
    return table(
        f"Thresholds from {found['documents']:,} clean documents", ["rule", "limit", "from"], rows
    )
