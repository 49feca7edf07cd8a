"""The guard: a step whose loss or gradient norm is not finite, or far above the last ones, is not
taken.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

Verdict = Literal["take", "skip", "return"]
ENOUGH = 16  # accepted steps before anything is called a spike
NORMAL = 1.4826  # deviation of a normal variable over its median absolute deviation
LEAST = {"loss": 0.05, "grad_norm": 0.25}  # smallest deviation of a logarithm, so that a very
# steady run does not call a ripple a spike


def robust_z(value: float, past: Sequence[float], least: float) -> float:
    """(value - median) / (1.4826 x median absolute deviation), the deviation at least `least`.

    Source: B. Iglewicz and D. Hoaglin, How to Detect and Handle Outliers, 1993.
    """
    middle = statistics.median(past)
    spread = NORMAL * statistics.median(abs(p - middle) for p in past)
    return (value - middle) / max(spread, least)


@dataclasses.dataclass
class Guard:
    """Judges each step before its update, from numbers that are the same on all ranks.

    Logarithms are compared: a gradient norm is never negative and its spread grows with its size.

    Attributes:
        threshold: robust z-score above which a step is a spike.
        window: accepted steps that are remembered.
        skips: the skip in a row that makes the verdict "return".
        returns: returns that are left.
    """

    threshold: float
    window: int
    skips: int
    returns: int

    def __post_init__(self) -> None:
        self._past = {name: collections.deque[float](maxlen=self.window) for name in LEAST}
        self.skipped = 0

    def judge(self, loss: float, grad_norm: float) -> tuple[Verdict, str]:
        """What to do with a step, and why when it is not taken."""
        reason = self._reason({"loss": loss, "grad_norm": grad_norm})
        if not reason:
            self.skipped = 0
            for name, value in (("loss", loss), ("grad_norm", grad_norm)):
                self._past[name].append(_log(value))
            return "take", ""
        self.skipped += 1
        return ("return" if self.skipped >= self.skips else "skip"), reason

    def _reason(self, values: dict[str, float]) -> str:
        for name, value in values.items():
            if not math.isfinite(value):
                return f"{name} is {value}"
            past = self._past[name]
            if len(past) >= min(ENOUGH, self.window):
                score = robust_z(_log(value), past, LEAST[name])
                if score > self.threshold:
                    usual = math.exp(statistics.median(past))
                    return f"{name} {value:.4g} where {usual:.4g} is usual (z {score:.0f})"
        return ""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "past": {name: list(values) for name, values in self._past.items()},
            "skipped": self.skipped,
            "returns": self.returns,
        }

    def load(self, state: dict[str, Any], *, keep_returns: bool = False) -> None:
        """Put back what `state` returned; with `keep_returns` the returns that are left stay as
        they are.
        """
        for name, values in state["past"].items():
            self._past[name] = collections.deque(values, maxlen=self.window)
        self.skipped = int(state["skipped"])
        if not keep_returns:
            self.returns = int(state["returns"])


def _log(value: float) -> float:
    return math.log(max(value, 1e-30))
