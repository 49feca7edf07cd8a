"""The tokenizer stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import copy_tokenizer
from langraft.core.errors import BadInput, RunFailed
from langraft.core.manifest import Stage, outputs_digest
from langraft.core.messages import say, warn
from langraft.graft.rows import padded
from langraft.pipeline.run import Run
from langraft.recipe import needs
from langraft.tokenizer.check import check_tokenizer
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules
from langraft.tokenizer.grow import Growth, grow
from langraft.tokenizer.sweep import Held, read_shape, sweep

CHECKED_LINES = 100_000


def tokenizer_stage(this: Run) -> Stage:
    """The base tokenizer and the new language's text -> an extended tokenizer with its proofs."""
    needs(this.recipe, "tokenizer", "language", "corpus")
    settings, language = this.recipe.tokenizer, this.recipe.language
    assert settings is not None and language is not None
    new, old = this.sources(new=True), this.sources(new=False)

    def work(folder: Path) -> dict[str, Any]:
        base = load_encoder(this.base)
        held = {source: this.texts("holdout", source) for source in this.languages}
        found = chosen_size(this, held)
        if settings.method == "keep" or found.size == 0:
            copy_tokenizer(this.base, folder)
            results = {"base_pieces": base.size, "added_pieces": 0, "family": base.family}
        else:
            results = grow(
                this.base,
                (text for source in new for text in this.texts("train", source)),
                growth(this, found.size),
                folder,
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
        return {**results, **found.as_dict(), "rows": rows, "tokens_per_character": ratios}

    inputs = {"base": this.base_digest, "corpus": outputs_digest(this.manifest("corpus"))}
    return Stage(
        "tokenizer",
        {"tokenizer": settings.model_dump(mode="json"), **language.model_dump(mode="json")},
        inputs,
        work,
    )


@dataclasses.dataclass(frozen=True)
class Size:
    """Pieces to add, and the sweep that chose them where the recipe says `auto`."""

    size: int | None
    sweep: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the manifest: the sweep, when there was one."""
        return {} if self.sweep is None else {"sweep": self.sweep}


def chosen_size(this: Run, held: dict[str, list[str]]) -> Size:
    """The recipe's size; for `auto` what a sweep over the training budget recommends."""
    settings, language = this.recipe.tokenizer, this.recipe.language
    assert settings is not None and language is not None
    if settings.size != "auto" or settings.vocabulary is not None:
        return Size(None if settings.vocabulary is not None else int(settings.size))
    new, old = this.sources(new=True), this.sources(new=False)
    found = sweep(
        this.base,
        (text for source in new for text in this.texts("train", source)),
        Held([t for s in new for t in held[s]], [t for s in old for t in held[s]]),
        rules=rules_of(this),
        shape=read_shape(this.base / "config.json"),
        budget=new_tokens(this),
        pad_to=settings.pad_to,
    )
    say(f"size: {found.reason}")
    return Size(found.size, found.as_dict())


def new_tokens(this: Run) -> int:
    """Tokens of the new language that the recipe's training stages read."""
    total = sum(stage.tokens * _share(stage.mix, this.language) for stage in this.recipe.pretrain)
    if total < 1:
        raise BadInput(
            "tokenizer.size: auto weighs the rows against the training budget, and this recipe "
            "trains on no text of the new language; add pretrain stages or give a number"
        )
    return int(total)


def _share(mix: Mapping[str, float] | None, code: str) -> float:
    return 1.0 if not mix else mix.get(code, 0.0) / sum(mix.values())


def rules_of(this: Run) -> Rules:
    """What a piece may be, from the recipe."""
    settings, language = this.recipe.tokenizer, this.recipe.language
    assert settings is not None and language is not None
    return Rules(
        language.scripts, settings.mixed, settings.min_frequency, settings.max_piece_characters
    )


def growth(this: Run, size: int | None) -> Growth:
    """How the recipe lets the vocabulary grow."""
    settings = this.recipe.tokenizer
    assert settings is not None
    return Growth(
        settings.method,
        size,
        rules_of(this),
        pieces=None if settings.pieces is None else this.root / settings.pieces,
        only_scripts=settings.only_scripts,
        reachable_only=settings.unreachable == "drop",
        pad_token=settings.pad_token,
        vocabulary=settings.vocabulary,
    )


def proofs(
    this: Run, extended: Path, old: Sequence[str], new: Sequence[str]
) -> list[dict[str, Any]]:
    """The tokenizer contract, proven on lines of the sources `old` and on the texts `new`.

    Raises:
        RunFailed: it does not hold, and the recipe enforces it; the message has the
            counter-example.
    """
    texts = [text for source in old for text in this.texts("train", source)]
    lines = [line for text in texts for line in text.split("\n") if line]
    found = check_tokenizer(this.base, extended, lines[:CHECKED_LINES], new)
    settings = this.recipe.tokenizer
    assert settings is not None
    for proof in found:
        if not proof.passed and settings.proofs == "report":
            warn(f"tokenizer: {proof.name} does not hold: {proof.counterexample}")
        elif not proof.passed:
            shown = f"{proof.name} does not hold; counter-example: {proof.counterexample}"
            raise RunFailed(f"tokenizer: {shown}")
    return [dataclasses.asdict(proof) for proof in found]
