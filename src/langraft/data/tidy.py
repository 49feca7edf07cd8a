"""Conversations cleaned and freed of duplicates by the corpus engine's own kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from langraft.corpus.clean import clean
from langraft.corpus.dedup import band_pairs, first_copies, roots
from langraft.corpus.kernels.sign import document_keys, signatures
from langraft.corpus.kernels.texts import Texts
from langraft.data.conversations import Conversation, Message
from langraft.recipe import Clean, Dedup, MinHash


def cleaned(found: Sequence[Conversation], settings: Clean) -> list[Conversation]:
    """Every message's text as the corpus stage would have cleaned it."""
    texts = clean(Texts.of([m.content for c in found for m in c.messages]), settings)
    contents = iter(texts[number] for number in range(len(texts)))
    return [
        dataclasses.replace(c, messages=tuple(Message(m.role, next(contents)) for m in c.messages))
        for c in found
    ]


def without_duplicates(found: Sequence[Conversation], settings: Dedup) -> list[Conversation]:
    """The first of every group of conversations that say the same, white space apart, or with
    `minhash` nearly the same.
    """
    texts = Texts.of(["\n".join(message.content for message in c.messages) for c in found])
    keys = np.frombuffer(b"".join(document_keys(texts)), np.uint64).reshape(-1, 2)
    kept = first_copies(keys) if settings.exact else np.ones(len(found), bool)
    chosen = np.flatnonzero(kept)
    if settings.minhash is not None:
        chosen = chosen[_first_of_alike(texts.take(chosen), settings.minhash)]
    return [found[number] for number in chosen.tolist()]


def _first_of_alike(texts: Texts, settings: MinHash) -> NDArray[np.bool_]:
    signed = signatures(texts, settings.bands, settings.rows, settings.ngram)
    rank = np.arange(len(texts))
    pairs = [
        band_pairs(signed.bands[:, band].copy(), rank, signed.agreement, settings.similarity)[0]
        for band in range(settings.bands)
    ]
    first = roots(np.concatenate(pairs), len(texts)) == rank
    return np.asarray(first | (signed.shingles == 0))  # a text without shingles is like no other
