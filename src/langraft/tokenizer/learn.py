"""Continued BPE: merging goes on where the base stopped, inside the new script only.

Two kinds of merges share one currency, tokens saved on the text: (1) merges inside a unit that
complete its characters, (2) merges between completed units of a run. Both are cut at the same
count. Units are completed before anything is joined.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from langraft.tokenizer.applying import Ranks, apply_merges, rank_merges
from langraft.tokenizer.encoder import BYTE_LEVEL
from langraft.tokenizer.merging import GAP, Alphabet, learn_merges
from langraft.tokenizer.pruning import Learned, Merge, Pruning
from langraft.tokenizer.runs import Corpus, Ids
from langraft.tokenizer.scripts import WORD

Symbols = npt.NDArray[np.int32]
# Pair merges beyond the need, to replace pieces that turn out unused; more where they are too few.
SPARES = (1.1, 2.0, 4.0)


@dataclasses.dataclass(frozen=True)
class Step:
    """The beginning of a unit, joined into one piece.

    Attributes:
        ids: base ids of that beginning.
        gain: tokens saved on the text.
    """

    ids: Ids
    gain: int


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two neighbours joined into one piece, with the tokens that saves."""

    left: bytes
    right: bytes
    gain: int


def learn(corpus: Corpus, *, size: int, min_frequency: int, max_piece_characters: int) -> Learned:
    """Learn `size` pieces, or as many as occur `min_frequency` times."""
    for spare in SPARES:
        candidates = Candidates.of(corpus, size, min_frequency, max_piece_characters, spare)
        found = candidates.choose(size)
        if len(found.pieces) >= size or candidates.exhausted:
            break
    return found


def unit_steps(corpus: Corpus, min_frequency: int) -> list[Step]:
    """All steps that complete characters, largest gain first.

    Byte-level: a unit of k tokens needs k - 1 merges, from its beginning on, and the merge of a
    beginning serves every unit that has it. SentencePiece: byte pieces cannot merge, so a character
    becomes a piece at once and saves k - 1 tokens.
    """
    gains: Counter[Ids] = Counter()
    known = set(corpus.base.bytes_by_id)
    for ids, count in corpus.unfinished.items():
        if corpus.base.family != BYTE_LEVEL:
            if count >= min_frequency and corpus.bytes_of(ids) not in known:
                gains[ids] += count * (len(ids) - 1)
            continue
        for end in range(2, len(ids) + 1):
            data = corpus.bytes_of(ids[:end])
            if data in known or not (end == len(ids) or corpus.scripts.allows(data)):
                break
            gains[ids[:end]] += count
    steps = [Step(ids, gain) for ids, gain in gains.items() if gain >= min_frequency]
    return sorted(steps, key=lambda step: (-step.gain, len(step.ids), step.ids))


@dataclasses.dataclass(frozen=True)
class Candidates:
    """More steps and pairs than are wanted, best first, and the text to try them on.

    Attributes:
        corpus: where they come from.
        steps: what completes characters.
        pairs: what joins completed units, in the order of learning.
        symbols: bytes of each symbol of `text`.
        text: the runs as symbols, shape (n,), each followed by GAP; ends: where each of them ends,
            shape (runs,); counts: how often it occurs, shape (runs,).
        longest: most characters in a piece; exhausted: whether the text holds no further pairs.
    """

    corpus: Corpus
    steps: list[Step]
    pairs: list[Pair]
    symbols: list[bytes]
    text: Symbols
    ends: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    longest: int
    exhausted: bool

    @classmethod
    def of(
        cls, corpus: Corpus, size: int, least: int, longest: int, spare: float = SPARES[0]
    ) -> Candidates:
        """Learn `spare` times the merges to choose `size` pieces from.

        A pair never occurs more often than its rarer unit, so no pair worth its place is made of a
        unit that is not; all units that can be completed may therefore be taken as completed here.
        """
        steps = unit_steps(corpus, least)
        symbols, table, lengths = _symbols_of(corpus, steps)
        runs = corpus.runs
        ends = runs.ends[: runs.size] + np.arange(1, runs.size + 1)
        text = np.insert(table[runs.values[: runs.used]], runs.ends[: runs.size], GAP)
        counts = runs.counts[: runs.size]
        weights = np.repeat(counts, np.diff(ends, prepend=0)).astype(np.int32)
        joins = np.array([not foreign for foreign in _foreign(corpus, table, len(symbols))])
        limit = int(size * spare) + 50
        found = learn_merges(
            text.copy(),
            weights,
            Alphabet(lengths, joins),
            limit=limit,
            least=least,
            longest=longest,
        )
        names = list(symbols) + [b""] * (len(found.pairs) + 1)
        pairs = []
        for (left, right), product, gain in zip(
            found.pairs.tolist(), found.products.tolist(), found.gains.tolist(), strict=True
        ):
            names[product] = names[left] + names[right]
            pairs.append(Pair(names[left], names[right], gain))
        exhausted = len(np.unique(found.products)) < limit
        return cls(corpus, steps, pairs, symbols, text, ends, counts, longest, exhausted)

    @functools.cached_property
    def by_gain(self) -> list[Step | Pair]:
        """Steps and pairs together, best first; a step goes before a pair of the same gain, and
        steps and pairs keep their own order.
        """
        both: list[Step | Pair] = [*self.steps, *self.pairs]
        ceilings = [*_falling(self.steps), *_falling(self.pairs)]
        return [both[n] for n in sorted(range(len(both)), key=lambda n: (-ceilings[n], n))]

    def characters_only(self) -> Candidates:
        """The same without pairs."""
        return dataclasses.replace(self, pairs=[])

    def choose(self, size: int) -> Learned:
        """Take `size` pieces, prune, and take the next ones in their place."""
        return Pruning(self, size).run()

    def build(self, size: int, dropped: Collection[bytes]) -> Learned:
        """Up to `size` pieces and their merges.

        A merge whose product the base already has under another spelling is left out, with all that
        is built on it: its product could set off merges of the base that the text never showed.
        Leaving out a piece with its descendants changes no other piece's own segmentation.
        """
        base = set(self.corpus.base.bytes_by_id)
        bytes_of, byte_level = self.corpus.bytes_of, self.corpus.base.family == BYTE_LEVEL
        pieces: dict[bytes, int] = {}
        inner: list[Merge] = []
        merges: list[Merge] = []
        gone = set(dropped)
        for found in self.by_gain:
            if isinstance(found, Step):
                parts = (bytes_of(found.ids[:-1]), bytes_of(found.ids[-1:]))
                needed = {parts[0]}
            else:
                parts = (found.left, found.right)
                needed = {*parts}
            data = parts[0] + parts[1]
            full = data not in pieces and len(pieces) >= size
            if data in gone or full or data in base or not gone.isdisjoint(needed):
                gone.add(data)
                continue
            pieces.setdefault(data, found.gain)
            if isinstance(found, Pair):
                merges.append(parts)
            elif byte_level:
                inner.append(parts)
        order = [piece for piece in self._step_pieces() if piece in pieces]
        order += [piece for piece in dict.fromkeys(a + b for a, b in merges) if piece in pieces]
        names = list(dict.fromkeys(order))
        gains = [pieces[piece] for piece in names]
        return Learned(names, inner + merges, {}, min(gains, default=0), 0, gains)

    def _step_pieces(self) -> Iterable[bytes]:
        return (self.corpus.bytes_of(step.ids) for step in self.steps)

    def uses(self, learned: Learned) -> Counter[bytes]:
        """How often each piece occurs when the text is encoded with the merges of `learned`."""
        finished = set(learned.pieces) | set(self.corpus.base.bytes_by_id)
        names = list(dict.fromkeys([*self.symbols, *learned.pieces]))
        index_of = {name: index for index, name in enumerate(names)}
        kept = np.array([name in finished for name in self.symbols] + [False])
        text = np.where(kept[self.text], self.text, GAP).astype(np.int32)
        apply_merges(text, self.ends, self._ranks(learned, index_of))
        weights = np.repeat(self.counts, np.diff(self.ends, prepend=0))
        tokens = text >= 0
        found = np.bincount(text[tokens], weights[tokens], len(names)).astype(np.int64)
        return self._unit_uses(learned) + Counter(dict(zip(names, found.tolist(), strict=True)))

    def _ranks(self, learned: Learned, index_of: dict[bytes, int]) -> Ranks:
        """The merges between symbols as the saved tokenizer will have them.

        SentencePiece joins any two neighbours that spell a piece.
        """
        if self.corpus.base.family == BYTE_LEVEL:
            made = list(learned.merges)
        else:
            cuts = ((p[:n], p[n:]) for p in learned.pieces for n in range(1, len(p)))
            made = [cut for cut in cuts if cut[0] in index_of and cut[1] in index_of]
        made = [cut for cut in made if cut[0] in index_of and cut[1] in index_of]
        pairs = np.array([[index_of[a], index_of[b]] for a, b in made], np.int32).reshape(-1, 2)
        products = np.array([index_of[a + b] for a, b in made], np.int32)
        return rank_merges(pairs, products, np.arange(len(made), dtype=np.int32))

    def _unit_uses(self, learned: Learned) -> Counter[bytes]:
        """Uses of beginnings that stay unfinished, and of finished marks, which stand in no run."""
        done = set(learned.pieces)
        uses: Counter[bytes] = Counter()
        for ids, count in self.corpus.unfinished.items():
            cuts = range(len(ids), 1, -1)
            reached = next((end for end in cuts if self.corpus.bytes_of(ids[:end]) in done), 0)
            data = self.corpus.bytes_of(ids[:reached])
            if reached and (reached < len(ids) or self.corpus.scripts.kind(data) != WORD):
                uses[data] += count
        return uses


def _falling(found: Sequence[Step] | Sequence[Pair]) -> list[int]:
    """Gains that never rise: a later merge may have come from an earlier one's product."""
    gains = np.array([each.gain for each in found], np.int64)
    return [int(gain) for gain in np.minimum.accumulate(gains)] if len(gains) else []


def _symbols_of(
    corpus: Corpus, steps: Sequence[Step]
) -> tuple[list[bytes], Symbols, npt.NDArray[np.int32]]:
    """One symbol for each spelling of a unit that is or can be completed.

    Returns:
        The bytes of each symbol; the symbol of each unit, GAP for one that stays unfinished, shape
        (units,); the characters of each symbol without its leading space.
    """
    done = {step.ids for step in steps}
    index_of: dict[bytes, int] = {}
    table = np.full(len(corpus.units), GAP, np.int32)
    for unit, ids in enumerate(corpus.units):
        if len(ids) == 1 or ids in done:
            table[unit] = index_of.setdefault(corpus.bytes_of(ids), len(index_of))
    lengths = [len(data.decode(errors="replace").strip(" ")) for data in index_of]
    return list(index_of), table, np.array(lengths, np.int32)


def _foreign(corpus: Corpus, table: Symbols, size: int) -> list[bool]:
    found = [False] * size
    for unit, symbol in enumerate(table.tolist()):
        if symbol != GAP:
            found[symbol] = corpus.foreign[unit]
    return found
