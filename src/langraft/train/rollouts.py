"""The feed that learns from the model's own answers, round after round.

A round's answers are sampled when its first step comes, scored, and written; a resume in the middle
of a round reads them again. An answer's random numbers are its own, so that a killed run and one
that was not killed draw the same answers, on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langraft.core.errors import BadInput
from langraft.data.samples import Settled
from langraft.train.experience import Experience, RolloutBatch
from langraft.train.ranks import ALONE, Ranks

Collect = Callable[[int, float], Experience]


class RolloutFeed(Settled):
    """Minibatches of the model's own answers, round after round.

    Attributes:
        steps: optimiser steps in all.
        kl: the coefficient that the next round uses.
    """

    parts = ("answers",)
    boundaries: frozenset[int] = frozenset()

    def __init__(
        self,
        collect: Collect,
        pool: Path,
        *,
        iterations: int,
        passes: int,
        minibatches: int,
        kl: float,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        """`collect` makes a round's experience of its number and the coefficient; `pool` is the
        folder where rounds are kept.
        """
        self._collect, self._pool, self._ranks = collect, pool, ranks
        self._passes, self._minibatches, self._seed = passes, minibatches, seed
        self.steps = iterations * passes * minibatches
        self.kl = kl
        self._held: tuple[int, Experience] | None = None

    def batches(
        self, position: int, micro_rows: int | None = None, rank: int = 0, world: int = 1
    ) -> list[RolloutBatch]:
        """This rank's micro-batches of one step.

        Raises:
            BadInput: the answers of a minibatch do not divide among the ranks.
        """
        number, within = divmod(position, self._passes * self._minibatches)
        experience = self._round(number)
        turn, part = divmod(within, self._minibatches)
        count = len(experience.rewards)
        if world > 1 and count % (self._minibatches * world):
            raise BadInput(
                f"{count} answers a round do not divide into {self._minibatches} minibatches among "
                f"{world} ranks"
            )
        generator = np.random.Generator(np.random.PCG64([self._seed, number, turn]))
        minibatch = np.array_split(generator.permutation(count), self._minibatches)[part]
        each = len(minibatch) // world
        own = (
            minibatch[rank * each : (rank + 1) * each].tolist() if world > 1 else minibatch.tolist()
        )
        size = micro_rows or len(own)
        return [experience.batch(own[a : a + size]) for a in range(0, len(own), size)]

    def _round(self, number: int) -> Experience:
        if self._held is not None and self._held[0] == number:
            return self._held[1]
        path = self._pool / f"{number:06d}"
        if not path.exists():  # no rank can write it before all have come to `collect`
            found = self._collect(number, self.kl)
            if self._ranks.lead:
                found.save(path)
            self._ranks.wait()
        experience = Experience.load(path)
        self._held, self.kl = (number, experience), float(experience.kl)
        return experience

    def achieved(self) -> Mapping[str, float]:
        """All of it."""
        return {"answers": 1.0}

    def state(self) -> Mapping[str, Any]:
        """The coefficient; the rounds lie in the pool."""
        return {"kl": self.kl}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.kl, self._held = float(state["kl"]), None
