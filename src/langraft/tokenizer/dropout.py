"""BPE-dropout over the added merges: one text, many segmentations, while training.

Provilkov et al. 2020 (arXiv 1910.13267): at every step each merge that could be done is left out
with probability p, and the best of the others is done. Here it begins at the base's own tokens, so
that old-language text is never touched. p = 0 gives the extended tokenizer's ids, p = 1 the base's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from langraft.core.errors import BadInput
from langraft.tokenizer.alphabet import is_continuation
from langraft.tokenizer.applying import NEVER, look_up, rank_merges
from langraft.tokenizer.encoder import BYTE_LEVEL, Encoder

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


class Dropout:
    """Encodes as `extended` does, with merges left out at random.

    Args:
        base: the tokenizer that `extended` was made from.
        probability: of leaving a merge out at one step, 0 to 1.

    Raises:
        BadInput: the probability is out of range.
    """

    def __init__(self, base: Encoder, extended: Encoder, probability: float) -> None:
        if not 0 <= probability <= 1:
            raise BadInput(f"dropout: {probability} is no probability; give 0 to 1")
        self.base, self.extended, self.probability = base, extended, float(probability)
        pairs, products, ranks = _added_merges(base, extended)
        self._table = rank_merges(pairs, products, ranks)
        self._joinable = np.zeros(extended.size, np.bool_)
        self._joinable[pairs.ravel()] = True
        self._begins = np.array([not d or not is_continuation(d[0]) for d in base.bytes_by_id])
        whole = (extended.piece_bytes(index) for index in range(base.size, extended.size))
        self._characters = {data: base.size + n for n, data in enumerate(whole)}

    def encode_batch(self, texts: Sequence[str], seed: int) -> list[list[int]]:
        """The ids of each text; the same seed gives the same ids."""
        found = self.base.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        results = []
        for number, each in enumerate(found):
            ids = np.array(each.ids, np.int32).reshape(-1)
            words = np.array([-1 if w is None else w for w in each.word_ids], np.int32)
            if self.base.family != BYTE_LEVEL:
                ids, words = self._with_characters(ids, words)
            stream = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
            table = self._table
            rules = _Rules(
                table.keys,
                table.ranks,
                table.products,
                self._joinable,
                self.probability,
                stream >> 1,
            )
            kept = _drop(ids, words, rules)
            results.append(ids[:kept].tolist())
        return results

    def _with_characters(self, ids: Int32, words: Int32) -> tuple[Int32, Int32]:
        """SentencePiece's byte pieces joined to the added characters: no merge does that."""
        starts = np.flatnonzero(self._begins[ids])
        chosen: list[int] = []
        kept: list[int] = []
        for start, end in zip(starts, np.append(starts, len(ids))[1:], strict=True):
            data = b"".join(self.base.bytes_by_id[index] for index in ids[start:end])
            known = self._characters.get(data) if end - start > 1 else None
            chosen += ids[start:end].tolist() if known is None else [known]
            kept += words[start:end].tolist() if known is None else [words[start]]
        return np.array(chosen, np.int32), np.array(kept, np.int32)


def _added_merges(base: Encoder, extended: Encoder) -> tuple[Int32, Int32, Int32]:
    """The merges behind the base's: pairs of ids, products, ranks."""
    merges = extended.definition["model"]["merges"][len(base.definition["model"]["merges"]) :]
    pairs = [each.split(" ") if isinstance(each, str) else each for each in merges]
    known = extended.vocabulary
    ids = np.array([[known[a], known[b]] for a, b in pairs], np.int32).reshape(-1, 2)
    products = np.array([known[a + b] for a, b in pairs], np.int32)
    return ids, products, np.arange(len(pairs), dtype=np.int32)


class _Rules(NamedTuple):
    """The added merges, and how they are left out.

    Attributes:
        keys, ranks, products: see `Ranks`; joinable: per id, whether any merge takes it;
        probability: of leaving a merge out; seed: of the text.
    """

    keys: Int64
    ranks: Int32
    products: Int32
    joinable: npt.NDArray[np.bool_]
    probability: float
    seed: int


@njit(cache=True)
def _uniform(seed: int, drawn: int) -> float:
    """The `drawn`-th of a stream of numbers in [0, 1): SplitMix64."""
    mixed = np.uint64(seed) + np.uint64(drawn) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True)
def _drop(ids: Int32, words: Int32, rules: _Rules) -> int:
    """Merge stretch by stretch in place; returns how many ids are left."""
    kept, start, drawn = 0, 0, 0
    while start < len(ids):
        end = start + 1
        while (
            end < len(ids)
            and words[end] == words[end - 1]
            and rules.joinable[ids[end]]
            and rules.joinable[ids[end - 1]]
        ):
            end += 1
        size, drawn = _merge_stretch(ids[start:end], rules, drawn)
        for offset in range(size):
            ids[kept] = ids[start + offset]
            kept += 1
        start = end
    return kept


@njit(cache=True)
def _merge_stretch(part: Int32, rules: _Rules, drawn: int) -> tuple[int, int]:
    size = len(part)
    while size > 1:
        chosen, best, product = -1, np.int64(NEVER), np.int32(-1)
        for place in range(size - 1):
            rank, slot = look_up(rules.keys, rules.ranks, part[place], part[place + 1])
            if rank == NEVER:
                continue
            drawn += 1
            if rank < best and _uniform(rules.seed, drawn) >= rules.probability:
                chosen, best, product = place, rank, rules.products[slot]
        if chosen < 0:
            break
        part[chosen] = product
        for place in range(chosen + 1, size - 1):
            part[place] = part[place + 1]
        size -= 1
    return size, drawn
