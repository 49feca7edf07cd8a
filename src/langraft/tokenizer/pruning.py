"""Pieces that no text shows are dropped: unused leaves, and scaffolds that save least."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

from langraft.tokenizer.alphabet import split_partial

Merge = tuple[bytes, bytes]
# Pieces that only build longer ones may be this share of the vocabulary.
MOST_IDLE = 0.009
ROUNDS = 5


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
        gains: tokens that each piece saved on the text when it was chosen, in the order of pieces.
    """

    pieces: list[bytes]
    merges: list[Merge]
    uses: dict[bytes, int]
    least_frequent: int
    pruned: int
    gains: list[int]


class Builder(Protocol):
    """Puts together vocabularies without some pieces, and tries them on the text."""

    @property
    def exhausted(self) -> bool:
        """Whether the text holds no further pieces to put in the place of others."""

    def build(self, size: int, dropped: Collection[bytes]) -> Learned:
        """A vocabulary of `size` pieces without `dropped` and what is built on them."""

    def uses(self, learned: Learned) -> Counter[bytes]:
        """How often each piece of it, and each symbol below them, occurs in the text."""


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


def _whole(piece: bytes) -> bool:
    parts = split_partial(piece)
    return parts is not None and not parts[1]


class Pruning:
    """Drops what is not needed, round by round, and takes the next best in its place.

    A scaffold (意大, which only ever stands inside 意大利) cannot go alone, since merging makes a
    piece of two others. Beyond MOST_IDLE of the vocabulary those that save least go with all that
    is built on them, unless the text holds nothing to put in their place.
    """

    def __init__(self, builder: Builder, size: int) -> None:
        self.builder, self.size = builder, size
        self.dropped: set[bytes] = set()
        self.idle: set[bytes] = set()
        self.may_drop_idle = True

    def run(self) -> Learned:
        """The pruned vocabulary."""
        for rounds in range(ROUNDS + 1):
            chosen = self.builder.build(self.size, self.dropped)
            if len(chosen.pieces) < self.size and self.builder.exhausted and self.idle:
                self.dropped, self.idle, self.may_drop_idle = self.dropped - self.idle, set(), False
                chosen = self.builder.build(self.size, self.dropped)
            uses = self.builder.uses(chosen)
            unused = unused_leaves(chosen.pieces, chosen.merges, uses)
            if rounds < ROUNDS and self.may_drop_idle:
                found = self._idle(chosen, uses)
                self.idle |= found
                unused |= found
            if not unused:
                break
            self.dropped |= unused
        kept = {piece: uses[piece] for piece in chosen.pieces}
        return dataclasses.replace(chosen, uses=kept, pruned=len(self.dropped))

    def _idle(self, chosen: Learned, uses: Counter[bytes]) -> set[bytes]:
        """The scaffolds of whole characters that are too many, those that save least."""
        saved = zip(chosen.pieces, chosen.gains, strict=True)
        idle = [(gain, piece) for piece, gain in saved if not uses[piece] and _whole(piece)]
        most = int(MOST_IDLE * len(chosen.pieces))
        if len(idle) <= most or len(chosen.pieces) < self.size:
            return set()
        return {piece for _, piece in sorted(idle)[: len(idle) - most]}
