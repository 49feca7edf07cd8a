"""The corpus stage."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.core.manifest import Stage
from langraft.corpus.build import build_stage
from langraft.data.frame import document_frame
from langraft.evals.bits import bits_of_each
from langraft.pipeline.run import Run
from langraft.recipe import needs
from langraft.tokenizer.encoder import load_encoder


def corpus_stage(this: Run) -> Stage:
    """Raw text -> clean training and hold-out documents."""
    needs(this.recipe, "corpus", "language")
    corpus = this.recipe.corpus
    assert corpus is not None
    if corpus.quality.scorer == "model":
        needs(this.recipe, "base")
    return build_stage(
        corpus,
        this.language,
        this.root,
        cluster=this.recipe.hardware.cluster,
        count_tokens=TokenCounter(this) if corpus.buckets.shares else None,
        bits_per_byte=TextBits(this) if corpus.quality.scorer == "model" else None,
    )


class TokenCounter:
    """Tokens of texts under the base's tokenizer, loaded when it is first asked."""

    def __init__(self, this: Run) -> None:
        self._this = this

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, special tokens not counted."""
        return [len(ids) for ids in load_encoder(self._this.base).encode_batch(texts)]


class TextBits:
    """Bits per byte of texts under the base model, loaded when it is first asked."""

    def __init__(self, this: Run) -> None:
        self._this = this

    @functools.cached_property
    def _model(self) -> PreTrainedModel:
        return load_model(self._this.base).to(self._this.device.name).eval()

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Each text's bits per byte; windows of several texts go through the model together."""
        encoder = load_encoder(self._this.base)
        start = document_frame(load_tokenizer(self._this.base)).start
        with torch.inference_mode():
            found = bits_of_each(
                self._model,
                encoder.encode_batch,
                texts,
                start=start,
                autocast=self._this.device.bf16,
            )
        return [bits.per_byte if bits.bytes else 0.0 for bits in found]
