"""The tokenizer stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import copy_tokenizer
from langraft.core.errors import RunFailed
from langraft.core.manifest import Stage, outputs_digest
from langraft.graft.rows import padded
from langraft.pipeline.run import Run
from langraft.recipe import needs
from langraft.tokenizer.check import check_tokenizer
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer

CHECKED_LINES = 10_000


def tokenizer_stage(this: Run) -> Stage:
    """The base tokenizer and the new language's text -> an extended tokenizer with its proofs."""
    needs(this.recipe, "tokenizer", "language", "corpus")
    settings, language = this.recipe.tokenizer, this.recipe.language
    assert settings is not None and language is not None
    new, old = this.sources(new=True), this.sources(new=False)

    def work(folder: Path) -> dict[str, Any]:
        base = load_encoder(this.base)
        held = {source: this.texts("holdout", source) for source in this.languages}
        if settings.method == "keep":
            copy_tokenizer(this.base, folder)
            results = {"base_pieces": base.size, "added_pieces": 0, "family": base.family}
        else:
            results = extend_tokenizer(
                this.base,
                [text for source in new for text in this.texts("train", source)],
                size=settings.size,
                rules=Rules(
                    language.scripts,
                    min_frequency=settings.min_frequency,
                    max_piece_characters=settings.max_piece_characters,
                ),
                out=folder,
            )
            results["proofs"] = proofs(this, folder, old, [t for s in new for t in held[s]])
        extended = load_encoder(folder)
        ratios = {
            source: {
                "base": measure(base, texts)["tokens_per_character"],
                "extended": measure(extended, texts)["tokens_per_character"],
            }
            for source, texts in held.items()
        }
        rows = padded(extended.size, settings.pad_to)
        return {**results, "rows": rows, "tokens_per_character": ratios}

    inputs = {"base": this.base_digest, "corpus": outputs_digest(this.manifest("corpus"))}
    return Stage(
        "tokenizer",
        {"tokenizer": settings.model_dump(mode="json"), **language.model_dump(mode="json")},
        inputs,
        work,
    )


def proofs(
    this: Run, extended: Path, old: Sequence[str], new: Sequence[str]
) -> list[dict[str, Any]]:
    """The tokenizer contract, proven on lines of the sources `old` and on the texts `new`.

    Raises:
        RunFailed: it does not hold; the message has the counter-example.
    """
    texts = [text for source in old for text in this.texts("train", source)]
    lines = [line for text in texts for line in text.split("\n") if line]
    found = check_tokenizer(this.base, extended, lines[:CHECKED_LINES], new)
    for proof in found:
        if not proof.passed:
            shown = f"{proof.name} does not hold; counter-example: {proof.counterexample}"
            raise RunFailed(f"tokenizer: {shown}")
    return [dataclasses.asdict(proof) for proof in found]
