"""Gathering what the methods need, and no more than the starts that are asked for need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from langraft.checkpoint.folder import load_model
from langraft.core.messages import say
from langraft.graft.starts import Knowledge
from langraft.graft.vectors import Vectors, counted_vectors, donor_vectors
from langraft.graft.words import read_words, translations
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.segments import subtokens

SIMILARITY = ("focus", "omp")


def gather(
    methods: Iterable[str],
    base: Encoder,
    extended: Encoder,
    *,
    texts: Sequence[str] = (),
    words: Path | None = None,
    donor: Path | None = None,
    seed: int = 17,
) -> tuple[Knowledge, dict[str, int]]:
    """What `methods` make rows from, and for how many pieces each source knew something.

    Args:
        texts: documents in the new language, for similarity without a donor.
        words: a bilingual word list.
        donor: the folder of a model that knows the pieces.

    Raises:
        BadInput: a damaged word list or donor, or a text too short to compare in.
    """
    asked, pieces, covered = set(methods), subtokens(base, extended), {}
    senses = None
    if words is not None and "align" in asked:
        senses, covered["word list"] = translations(read_words(words), base, extended)
        say(f"{words}: translations for {covered['word list']:,} of {len(pieces):,} pieces")
    vectors: Vectors | None = None
    if asked & set(SIMILARITY) and (donor is not None or texts):
        vectors = _vectors(base, extended, texts, donor)
        covered["vectors"] = len(vectors.where)
        say(f"vectors for {covered['vectors']:,} of {len(pieces):,} pieces")
    return Knowledge(pieces, senses, vectors, seed), covered


def _vectors(base: Encoder, extended: Encoder, texts: Sequence[str], donor: Path | None) -> Vectors:
    if donor is None:
        documents = (extended.encode(text) for text in texts)
        return counted_vectors(documents, base.size, extended.size - base.size)
    matrix = load_model(donor).get_input_embeddings().weight.data
    return donor_vectors(load_encoder(donor), matrix, base, extended)
