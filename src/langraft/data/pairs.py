"""Pairs of answers as batches: chosen and rejected in turn, packed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from langraft.core.errors import BadInput
from langraft.data.encode import Encoded, Renderer, cut
from langraft.data.objects import Unfit
from langraft.data.pack import IGNORE
from langraft.data.preferences import Preference
from langraft.data.samples import Samples, Settled, batch_of, lay, own_part


@dataclasses.dataclass(frozen=True)
class PairBatch:
    """P pairs as 2 P packed sequences, chosen and rejected in turn; T tokens in all.

    Attributes:
        labels: the answer's tokens, each where it is predicted, shape (T,).
        margins, weights: by pair, shape (P,).
        reference: summed log-probabilities of the answers by the reference model, shape (2 P,).
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    boundaries: NDArray[np.int32]
    margins: NDArray[np.float32]
    weights: NDArray[np.float32]
    reference: NDArray[np.float32]

    @property
    def counted(self) -> int:
        """Pairs."""
        return len(self.margins)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(np.diff(self.boundaries).max())

    @property
    def owners(self) -> NDArray[np.int64]:
        """Which sequence each counted label belongs to, shape (labels,)."""
        sequence = np.repeat(np.arange(len(self.boundaries) - 1), np.diff(self.boundaries))
        return sequence[self.labels != IGNORE]


@dataclasses.dataclass(frozen=True)
class PairSet:
    """Encoded pairs: sequences 2 n and 2 n + 1 of `samples` are pair n's chosen and rejected."""

    samples: Samples
    margins: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.margins)

    def batch(
        self, numbers: Sequence[int], reference: NDArray[np.float32] | None = None
    ) -> PairBatch:
        """Some pairs as one batch."""
        places = [n for number in numbers for n in (2 * number, 2 * number + 1)]
        laid = batch_of([self.samples[n] for n in places])
        chosen = list(numbers)
        return PairBatch(
            laid.input_ids,
            laid.labels,
            laid.position_ids,
            laid.boundaries,
            self.margins[chosen],
            self.weights[chosen],
            np.zeros(len(places), np.float32) if reference is None else reference[places],
        )

    def take(self, numbers: NDArray[np.int64]) -> PairSet:
        """Some of the pairs, weights as they are."""
        samples = [self.samples[n] for number in numbers for n in (2 * number, 2 * number + 1)]
        return PairSet(lay(samples), self.margins[numbers], self.weights[numbers])


def encode_pairs(
    pairs: Sequence[Preference], renderer: Renderer, longest: int
) -> tuple[PairSet, list[Unfit], list[Preference]]:
    """Render and tokenise both answers of every pair; answers are cut at `longest` tokens with
    their question. Weights are scaled to a mean of 1.

    Returns:
        the pairs that can be learnt from, why the others cannot, and the pairs kept.

    Raises:
        BadInput: none can.
    """
    samples: list[Encoded] = []
    kept: list[Preference] = []
    unfit: list[Unfit] = []
    for pair in pairs:
        both = [
            cut(s, longest) for s in renderer.answers(pair.messages, (pair.chosen, pair.rejected))
        ]
        if not all(sample.learnt[1:].any() for sample in both):
            why = f"no token of an answer is left in {longest} tokens"
        elif both[0].ids.tolist() == both[1].ids.tolist():
            why = f"chosen is equal to rejected in the first {longest} tokens"
        else:
            samples += both
            kept.append(pair)
            continue
        unfit.append(Unfit(pair.path, pair.line, why))
    if not kept:
        raise BadInput(
            f"there is no pair to learn from{f'; the first: {unfit[0]}' if unfit else ''}"
        )
    weights = np.array([pair.weight for pair in kept], np.float32)
    margins = np.array([pair.margin for pair in kept], np.float32)
    return PairSet(lay(samples), margins, weights / weights.mean()), unfit, kept


class PairFeed(Settled):
    """Batches of pairs, every epoch in another order; the last batch is filled up from the first
    pairs.

    Attributes:
        steps: batches in all.
    """

    parts = ("pairs",)
    boundaries: frozenset[int] = frozenset()

    def __init__(
        self,
        pairs: PairSet,
        *,
        batch: int,
        epochs: int,
        seed: int,
        reference: NDArray[np.float32] | None = None,
    ) -> None:
        self._pairs, self._batch, self._reference = pairs, batch, reference
        orders = [
            np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(pairs))
            for epoch in range(epochs)
        ]
        self._order = np.concatenate(orders)
        self.steps = -(-len(self._order) // batch)

    def batches(
        self, position: int, micro_rows: int | None = None, rank: int = 0, world: int = 1
    ) -> list[PairBatch]:
        """This rank's micro-batches of one step.

        Raises:
            BadInput: the pairs of a batch do not divide among the ranks.
        """
        places = own_part(self._batch, position, rank, world, "pairs")
        own = [int(self._order[n % len(self._order)]) for n in places]
        size = micro_rows or len(own)
        parts = range(0, len(own), size)
        return [self._pairs.batch(own[a : a + size], self._reference) for a in parts]

    def achieved(self) -> Mapping[str, float]:
        """All of it."""
        return {"pairs": 1.0}
