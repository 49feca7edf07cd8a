"""What a run measures: bits per byte, forgetting, samples, targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.core.messages import track
from langraft.data.shards import Frame
from langraft.evals.bits import bits_per_byte, excerpts
from langraft.pipeline.run import Run
from langraft.recipe import needs
from langraft.serve.text import complete
from langraft.tokenizer.encoder import Encoder

SAMPLE_TOKENS = 48


def measuring(this: Run) -> dict[str, Any]:
    """The settings that decide what bits per byte mean in this run."""
    needs(this.recipe, "eval")
    assert this.recipe.eval is not None
    return {
        "window": this.recipe.eval.window,
        "max_bytes": this.recipe.eval.max_bytes,
        "bf16": this.device.bf16,
    }


def bits_of(
    this: Run,
    model: Any,
    encoder: Encoder,
    frame: Frame,
    name: str,
    part: Callable[[str], list[str]] | None = None,
) -> dict[str, float]:
    """Bits per byte of `model` on the hold-out of every source, as the recipe's `eval` section
    says; or on the texts that `part` gives for a source.
    """
    settings = measuring(this)
    sources = list(this.languages)
    found = {}
    for source in track(sources, f"bits per byte, {name}", total=len(sources), unit="sources"):
        found_texts = this.texts("holdout", source) if part is None else part(source)
        texts = excerpts(found_texts, settings["max_bytes"])
        score = bits_per_byte(
            model,
            encoder.encode_batch,
            texts,
            start=frame.start,
            window=settings["window"],
            autocast=this.device.bf16,
        )
        found[source] = round(score.per_byte, 5)
    return found


def samples(base: Path, adapted: Path, prompts: Sequence[str]) -> list[dict[str, str]]:
    """The same prompts continued greedily by both models."""
    found: dict[str, list[str]] = {}
    for name, folder in (("base", base), ("adapted", adapted)):
        model, tokenizer = load_model(folder), load_tokenizer(folder)
        found[name] = [complete(model, tokenizer, prompt, SAMPLE_TOKENS) for prompt in prompts]
    return [
        {"prompt": p, "base": a, "adapted": b}
        for p, a, b in zip(prompts, found["base"], found["adapted"], strict=True)
    ]


def targets(
    this: Run,
    bits: Mapping[str, Mapping[str, float]],
    ratios: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Whether the adapted model is shorter, better and not forgetful, against the recipe's own
    targets.
    """
    settings = this.recipe.eval
    assert settings is not None
    found = []
    for source in this.sources(new=True):
        shorter = ratios[source]["base"] / ratios[source]["extended"]
        name = f"tokens per character, {source}: times fewer than the base"
        met = shorter >= settings.fewer_tokens
        found.append(
            {"name": name, "value": round(shorter, 3), "limit": settings.fewer_tokens, "met": met}
        )
    limits = dict.fromkeys(this.sources(new=True), -settings.better_bits)
    limits |= dict.fromkeys(this.sources(new=False), this.recipe.forgetting.max_rise)
    for source, limit in limits.items():
        change = round(bits["adapted"][source] / bits["base"][source] - 1, 4)
        name = f"bits per byte, {source}: change against the base"
        found.append(
            {"name": name, "value": change, "limit": limit, "met": change <= limit, "percent": True}
        )
    return found
