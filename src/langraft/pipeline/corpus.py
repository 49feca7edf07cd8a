"""The corpus stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langraft.core.manifest import Stage
from langraft.corpus.build import build_corpus, input_hashes
from langraft.pipeline.run import Run
from langraft.recipe import needs


def corpus_stage(this: Run) -> Stage:
    """Raw text -> clean training and hold-out documents."""
    needs(this.recipe, "corpus", "language")
    corpus = this.recipe.corpus
    assert corpus is not None

    def work(folder: Path) -> dict[str, Any]:
        return build_corpus(corpus, this.language, this.root, folder)

    settings = {"corpus": corpus.model_dump(mode="json"), "language": this.language}
    return Stage("corpus", settings, input_hashes(corpus, this.root), work)
