"""Continued BPE: merging goes on where the base stopped, inside the new script only.

Two kinds of merges share one currency, tokens saved on the text: (1) merges inside a unit that
complete its characters, (2) merges between completed units of a run. Both are cut at the same
count. Units are completed before anything is joined.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from langraft.tokenizer.encoder import BYTE_LEVEL
from langraft.tokenizer.runs import FIRST_SYMBOL, Corpus, Ids
from langraft.tokenizer.scripts import WORD

Merge = tuple[bytes, bytes]
Pair = tuple[str, str]
# Pair merges beyond the need, to replace pieces that turn out unused.
SPARE = 50
# The threshold is settled when it moves fewer unit steps than this share of the size.
CLOSE = 0.01
ROUNDS = 5


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
class Learned:
    """New pieces and the merges that make them, in order of priority.

    Attributes:
        pieces: bytes of each new piece, in the order of their ids.
        merges: byte strings to join; a piece may have more than one. A SentencePiece character
            piece has none.
        uses: how often each piece occurs when the text is encoded again.
        least_frequent: tokens saved on the text by the rarest merge.
        pruned: pieces dropped because nothing used them.
    """

    pieces: list[bytes]
    merges: list[Merge]
    uses: dict[bytes, int]
    least_frequent: int
    pruned: int


def learn(corpus: Corpus, *, size: int, min_frequency: int, max_piece_characters: int) -> Learned:
    """Learn `size` pieces, or as many as occur `min_frequency` times."""
    steps = unit_steps(corpus, min_frequency)
    longest = max_piece_characters + corpus.scripts.spaced
    threshold = balance([step.gain for step in steps], [], (size + 1) // 2, min_frequency)
    for _ in range(ROUNDS):
        first = [step for step in steps if step.gain >= threshold]
        runs = complete_runs(corpus, first)
        pairs = pair_merges(runs, size + SPARE, min_frequency, longest)
        gains = pair_gains(runs, pairs)
        better = balance([step.gain for step in steps], gains, size, min_frequency)
        moved = sum(step.gain >= better for step in steps) - len(first)
        if abs(moved) <= CLOSE * size:
            break
        threshold = better
    return _select(
        corpus, first, runs, dict(zip(pairs, gains, strict=True)), size, max_piece_characters
    )


def balance(steps: Sequence[int], pairs: Sequence[int], size: int, least: int) -> int:
    """The gain at which both kinds of merges give `size` pieces; `least` when there are fewer."""
    both = sorted([*steps, *pairs], reverse=True)
    return max(least, both[size - 1]) if len(both) >= size else least


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


def complete_runs(corpus: Corpus, first: Sequence[Step]) -> Counter[str]:
    """The runs with one symbol for each completed unit, cut where a unit stays unfinished.

    Units that spell the same bytes get the same symbol.
    """
    done = {step.ids for step in first}
    by_bytes: dict[bytes, int] = {}
    table: dict[int, int | str] = {}
    for index, ids in enumerate(corpus.units):
        symbol = FIRST_SYMBOL + index
        table[symbol] = (
            by_bytes.setdefault(corpus.bytes_of(ids), symbol)
            if len(ids) == 1 or ids in done
            else " "
        )
    runs: Counter[str] = Counter()
    for run, count in corpus.runs.items():
        for part in run.translate(table).split():
            runs[part] += count
    return runs


def pair_merges(runs: Counter[str], limit: int, least: int, longest: int) -> list[Pair]:
    """Merges between the symbols of `runs`, as Hugging Face's BPE trainer learns them, in order.

    Args:
        runs: strings with their counts.
        limit: most merges wanted.
        least: lowest pair count.
        longest: most symbols in a piece.
    """
    alphabet = _alphabet(runs)
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + limit,
        min_frequency=least,
        initial_alphabet=alphabet,
        max_token_length=longest,
        show_progress=False,
    )
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.train_from_iterator(_repeated(runs), trainer)
    return [(left, right) for left, right in json.loads(engine.to_str())["model"]["merges"]]


def _alphabet(runs: Counter[str]) -> list[str]:
    return sorted(set().union(*runs))


def _repeated(runs: Counter[str]) -> Iterator[str]:
    """Every run as often as it occurs: the trainer takes no counts."""
    for run, count in runs.items():
        yield f"{run} " * count


def segment(runs: Counter[str], pairs: Sequence[Pair]) -> Counter[str]:
    """How often each symbol string occurs when `runs` are encoded with `pairs`."""
    names = list(dict.fromkeys([*_alphabet(runs), *(left + right for left, right in pairs)]))
    model = models.BPE(
        vocab={name: index for index, name in enumerate(names)},
        merges=list(pairs),
        cache_capacity=0,
    )
    engine = tokenizers.Tokenizer(model)
    order = list(runs)
    counts = np.zeros(len(names), dtype=np.int64)
    for begin in range(0, len(order), 50_000):
        part = order[begin : begin + 50_000]
        found = [each.ids for each in engine.encode_batch_fast(part, add_special_tokens=False)]
        weights = np.repeat([runs[run] for run in part], [len(ids) for ids in found])
        flat = np.fromiter((index for ids in found for index in ids), dtype=np.int64)
        counts += np.bincount(flat, weights=weights, minlength=len(names)).astype(np.int64)
    return Counter(dict(zip(names, counts.tolist(), strict=True)))


def pair_gains(runs: Counter[str], pairs: Sequence[Pair]) -> list[int]:
    """Tokens saved by each merge: how often its product was formed.

    Merges are never undone, so a product was formed as often as it is left at the end plus as often
    as a later merge took it.
    """
    formed = segment(runs, pairs)
    gains = [0] * len(pairs)
    for index in range(len(pairs) - 1, -1, -1):
        left, right = pairs[index]
        gains[index] = formed[left + right]
        formed[left] += gains[index]
        formed[right] += gains[index]
    return gains


def _select(
    corpus: Corpus,
    first: Sequence[Step],
    runs: Counter[str],
    pairs: dict[Pair, int],
    size: int,
    longest: int,
) -> Learned:
    """Take `size` pieces, drop those that nothing uses, and take the next ones in their place."""
    builder = _Builder(corpus, first, longest)
    dropped: set[bytes] = set()
    while True:
        pieces, merges, taken = builder.build(list(pairs), size, dropped)
        uses = builder.uses(runs, taken)
        unused = unused_leaves(pieces, merges, uses)
        if not unused:
            break
        dropped |= unused
    gains = [step.gain for step in first if corpus.bytes_of(step.ids) in uses] + [
        pairs[pair] for pair in taken
    ]
    return Learned(
        pieces,
        merges,
        {piece: uses[piece] for piece in pieces},
        min(gains, default=0),
        len(dropped),
    )


def unused_leaves(
    pieces: Sequence[bytes], merges: Sequence[Merge], uses: Counter[bytes]
) -> set[bytes]:
    """Pieces that never occur and that no other kept piece is made of."""
    parts: dict[bytes, list[bytes]] = {}
    for left, right in merges:
        parts.setdefault(left + right, []).extend((left, right))
    needed = Counter(part for made_of in parts.values() for part in made_of)
    found: set[bytes] = set()
    for piece in reversed(pieces):
        if not uses[piece] and not needed[piece]:
            found.add(piece)
            needed.subtract(parts.get(piece, []))
    return found


class _Builder:
    """Turns steps and pair merges over private symbols into pieces and merges over bytes."""

    def __init__(self, corpus: Corpus, first: Sequence[Step], longest: int) -> None:
        self.corpus, self.first, self.longest = corpus, first, longest
        self.base = set(corpus.base.bytes_by_id)
        self.unit_bytes = [corpus.bytes_of(ids) for ids in corpus.units]

    def spelled(self, symbols: str) -> bytes:
        """The bytes of a string of private symbols."""
        return b"".join(self.unit_bytes[ord(symbol) - FIRST_SYMBOL] for symbol in symbols)

    def build(
        self, pairs: Sequence[Pair], size: int, dropped: set[bytes]
    ) -> tuple[list[bytes], list[Merge], list[Pair]]:
        """Up to `size` pieces, merges over bytes, and the pair merges that were taken.

        A merge whose product the base already has under another spelling is left out, with all that
        is built on it: its product could set off merges of the base that the text never showed.
        Leaving out a piece with its descendants changes no other piece's own segmentation.
        """
        pieces: dict[bytes, None] = {}
        merges: list[Merge] = []
        gone = set(dropped)
        byte_level = self.corpus.base.family == BYTE_LEVEL
        for step in self.first:
            data, beginning = self.corpus.bytes_of(step.ids), self.corpus.bytes_of(step.ids[:-1])
            if {data, beginning} & gone or (data not in pieces and len(pieces) >= size):
                gone.add(data)
                continue
            pieces[data] = None
            if byte_level:
                merges.append((beginning, self.corpus.base.bytes_by_id[step.ids[-1]]))
        taken: list[Pair] = []
        for left, right in pairs:
            one, two = self.spelled(left), self.spelled(right)
            data = one + two
            long = len(data.decode().strip(" ")) > self.longest
            if (
                {one, two, data} & gone
                or data in self.base
                or long
                or (data not in pieces and len(pieces) >= size)
            ):
                gone.add(data)
                continue
            pieces[data] = None
            merges.append((one, two))
            taken.append((left, right))
        return list(pieces), merges, taken

    def uses(self, runs: Counter[str], taken: Sequence[Pair]) -> Counter[bytes]:
        """How often each piece occurs when the text is encoded with the `taken` merges."""
        uses = self._unit_uses()
        for symbols, count in segment(runs, taken).items():
            uses[self.spelled(symbols)] += count
        return uses

    def _unit_uses(self) -> Counter[bytes]:
        """Uses of beginnings that stay unfinished, and of finished marks, which stand in no run."""
        done = {step.ids for step in self.first}
        uses: Counter[bytes] = Counter()
        for ids, count in self.corpus.unfinished.items():
            reached = next((ids[:end] for end in range(len(ids), 1, -1) if ids[:end] in done), None)
            if reached is None:
                continue
            data = self.corpus.bytes_of(reached)
            if reached != ids or self.corpus.scripts.kind(data) != WORD:
                uses[data] += count
        return uses
