"""The eval stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langraft.core.manifest import Stage, outputs_digest
from langraft.pipeline.measure import samples, targets
from langraft.pipeline.run import Run
from langraft.pipeline.suites import suite_digests, suite_scores
from langraft.recipe import needs


def eval_stage(this: Run, twin: bool) -> Stage:
    """The adapted model beside the untouched base: bits per byte, tokens per character, samples,
    targets.
    """
    needs(this.recipe, "eval", "corpus", "tokenizer", "graft")
    settings = this.recipe.eval
    assert settings is not None
    last = f"pretrain-{this.recipe.pretrain[-1].name}" if this.recipe.pretrain else "graft"
    twin_last = f"twin-{this.recipe.pretrain[-1].name}" if twin and this.recipe.pretrain else None

    def work(folder: Path) -> dict[str, Any]:
        bits = dict(this.manifest("graft")["results"]["bits"])
        bits["adapted"] = this.manifest(last)["results"]["bits"]
        if twin_last is not None:
            bits["twin"] = this.manifest(twin_last)["results"]["bits"]
        ratios = this.manifest("tokenizer")["results"]["tokens_per_character"]
        return {
            "bits": bits,
            "languages": this.languages,
            "tokens_per_character": {
                s: {"base": r["base"], "adapted": r["extended"]} for s, r in ratios.items()
            },
            "samples": samples(this.base, this.out / last, settings.prompts),
            "targets": targets(this, bits, ratios),
            "suites": suite_scores(this, {"base": this.base, "adapted": this.out / last}, folder),
            "model": str(this.out / last),
        }

    inputs = {
        name: outputs_digest(this.manifest(name))
        for name in ("graft", last, *([twin_last] if twin_last else []))
    }
    inputs |= suite_digests(this)
    return Stage(
        "eval",
        {**settings.model_dump(mode="json"), "forgetting": this.recipe.forgetting.model_dump()},
        inputs,
        work,
    )
