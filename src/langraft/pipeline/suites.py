"""The benchmarks of a run: base and result on the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langraft.evals.compare import suite_score
from langraft.evals.ledger import read_results
from langraft.evals.open import open_reader
from langraft.evals.protocols import fitting
from langraft.evals.suite import evaluate
from langraft.evals.suites import SUITES, load_exam
from langraft.pipeline.run import Run


def suite_digests(this: Run) -> dict[str, str]:
    """The sha256 of what each suite of the recipe asks, by name: inputs of the stage."""
    settings = this.recipe.eval
    assert settings is not None
    return {
        f"suite {suite}": load_exam(
            suite, settings.data or "", this.root, shots=shots, limit=settings.limit
        ).digest()
        for suite, shots in settings.suites.items()
    }


def suite_scores(this: Run, models: Mapping[str, Path], folder: Path) -> list[dict[str, Any]]:
    """Scores of every suite in the recipe's `eval` section, with the paired difference.

    Args:
        models: the folders of `base` and `adapted`.
        folder: every question's result goes below it.

    Raises:
        BadInput: an unknown suite or protocol, or data that is not there.
    """
    settings = this.recipe.eval
    assert settings is not None
    if not settings.suites:
        return []
    assert settings.data is not None
    precision = "bf16" if this.device.name == "cuda" and this.device.bf16 else "fp32"
    readers = {name: open_reader(path, precision=precision) for name, path in models.items()}
    found = []
    for suite, shots in settings.suites.items():
        exam = load_exam(suite, settings.data, this.root, shots=shots, limit=settings.limit)
        protocol = settings.protocol or fitting(suite)[0]
        summaries, lines = {}, {}
        for name, reader in readers.items():
            kept = folder / "suites" / suite / name
            summaries[name] = evaluate(reader, exam, protocol, kept).as_json()
            lines[name] = list(read_results(kept))
        both = suite_score(summaries["base"], summaries["adapted"], lines["base"], lines["adapted"])
        card = {k: v for k, v in both.card.items() if k not in ("model", "items", "prompt")}
        found.append(
            {
                "suite": suite,
                "title": SUITES[suite].title,
                "language": SUITES[suite].language,
                "card": card,
                "base": dict(both.base),
                "adapted": dict(both.model),
                "difference": dict(both.difference),
                "notes": list(summaries["adapted"]["notes"]),
            }
        )
    return found
