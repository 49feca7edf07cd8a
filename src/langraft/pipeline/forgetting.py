"""The forgetting meter: old languages beside the new one at every evaluation, and what a breach
does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from langraft.core.errors import BadInput, RunFailed
from langraft.core.messages import warn
from langraft.data.course import Course
from langraft.recipe import Forgetting

ADVICE = "raise the share of the old language in `mix`, or lower `lr`"


@dataclasses.dataclass(frozen=True)
class Meter:
    """Compares the old languages with the untouched base.

    Attributes:
        rules: the recipe's `forgetting` section.
        base: bits per byte of the untouched base, by source.
        old: the sources that are not in the new language.
        replay: the parts of the mix that are not in the new language.
    """

    rules: Forgetting
    base: Mapping[str, float]
    old: tuple[str, ...]
    replay: tuple[str, ...]

    def check(self, course: Course) -> None:
        """See that the action asked for can be taken.

        Raises:
            BadInput: there is no old language in the mix whose share could be raised.
        """
        if self.rules.on_breach == "raise-replay" and self.old:
            new = [part for part in course.parts if part not in self.replay]
            if len(new) == len(course.parts):
                raise BadInput(
                    "forgetting.on_breach: raise-replay needs an old language in the stage's mix; "
                    f"it has only {', '.join(course.parts)}"
                )

    def judge(self, bits: Mapping[str, float], course: Course) -> tuple[float, dict[str, Any]]:
        """What one evaluation means.

        Raising the replay changes `course` from its next step on.

        Returns:
            a factor for all rates, and a record: the worst relative rise and what was done.

        Raises:
            RunFailed: a rise above `max_rise` and `on_breach: stop`.
        """
        rises = {source: bits[source] / self.base[source] - 1 for source in self.old}
        if not rises:
            return 1.0, {}
        source = max(rises, key=lambda name: rises[name])
        worst, limit = rises[source], self.rules.max_rise
        record: dict[str, Any] = {"rise": round(worst, 5), "source": source}
        if worst > limit:
            message = f"forgetting: {source} is {worst:+.1%} above the base (limit {limit:+.1%})"
            if self.rules.on_breach == "stop":
                raise RunFailed(f"{message}; {ADVICE}")
            warn(message)
        if worst <= limit * self.rules.act_at:
            return 1.0, record
        if self.rules.on_breach == "lower-rate":
            return self.rules.rate_factor, record | {"rates_times": self.rules.rate_factor}
        if self.rules.on_breach == "raise-replay":
            share = self.raise_replay(course)
            return 1.0, record | {"replay": round(share, 4)}
        return 1.0, record

    def raise_replay(self, course: Course) -> float:
        """Give the old parts of the mix `replay_step` more, up to `max_replay`; returns their share
        from now on.
        """
        old = sum(course.shares[part] for part in self.replay if part in course.shares)
        wanted = min(max(old, self.rules.max_replay), old + self.rules.replay_step)
        if wanted > old:
            scale = {True: wanted / old, False: (1 - wanted) / (1 - old)}
            course.change(
                {part: share * scale[part in self.replay] for part, share in course.shares.items()}
            )
        return wanted
