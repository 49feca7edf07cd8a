"""Why a score is not the published one: the same model under one changed setting at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from langraft.evals.protocols import fitting
from langraft.evals.statistics import Estimate
from langraft.evals.suites import SUITES


@dataclasses.dataclass(frozen=True)
class Setting:
    """The settings that published numbers differ in.

    Attributes:
        seed: draws the worked examples; None takes the first.
    """

    protocol: str
    shots: int
    seed: int | None = None
    window: int | None = None

    def unlike(self, other: Setting) -> str:
        """What is different here, in words."""
        words = []
        if self.protocol != other.protocol:
            words.append(f"protocol {self.protocol}")
        if self.shots != other.shots:
            words.append(f"{self.shots} worked examples")
        if self.seed != other.seed:
            words.append(f"worked examples drawn with seed {self.seed}")
        if self.window != other.window:
            words.append(f"window of {self.window} tokens")
        return ", ".join(words) or "as claimed"


def neighbours(claimed: Setting, suite: str) -> list[Setting]:
    """The claimed setting, and every other that differs from it in one thing."""
    found = [claimed]
    found += [
        dataclasses.replace(claimed, protocol=name)
        for name in fitting(suite)
        if name not in (claimed.protocol, "generate")
    ]
    if SUITES[suite].shots:
        other = 0 if claimed.shots else SUITES[suite].shots
        found.append(dataclasses.replace(claimed, shots=other))
    if claimed.shots:
        found.append(dataclasses.replace(claimed, seed=1 if claimed.seed is None else None))
    if claimed.shots and claimed.window is None:
        found.append(dataclasses.replace(claimed, window=1024))
    return found


@dataclasses.dataclass(frozen=True)
class Explained:
    """One setting's score, how far it moves from the claimed setting's, and its distance from the
    published number, all as shares of 1; `explains`: that number lies in the score's interval.
    """

    setting: str
    score: Estimate
    moves: float
    distance: float
    explains: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def explain(
    claimed: Setting, suite: str, published: float, score: Callable[[Setting], Estimate]
) -> list[Explained]:
    """Score every neighbour of the claimed setting, the nearest to the published number first.

    Args:
        published: the published score, a share of 1.
        score: evaluates a setting.
    """
    settings: Sequence[Setting] = neighbours(claimed, suite)
    scores = [score(setting) for setting in settings]
    found = [
        Explained(
            setting=s.unlike(claimed),
            score=e,
            moves=e.value - scores[0].value,
            distance=abs(e.value - published),
            explains=e.low <= published <= e.high,
        )
        for s, e in zip(settings, scores, strict=True)
    ]
    return sorted(found, key=lambda line: line.distance)
