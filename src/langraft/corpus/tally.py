"""What happened to a source's records: counts, and a few examples of every reason to drop one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from langraft.corpus.readers import Malformed
from langraft.corpus.rules import RULES, Verdict

EXAMPLES = 10
SNIPPET = 200  # characters
DUPLICATE = "duplicate"
NEAR_HOLDOUT = "near_holdout"  # a held-out document is nearly or exactly the same


class Tally:
    """The counts of one source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.read = 0
        self.malformed = Malformed()
        self._drops: Counter[str] = Counter()
        self._examples: list[dict[str, Any]] = []

    @property
    def duplicates(self) -> int:
        """Documents dropped as exact copies."""
        return self._drops[DUPLICATE]

    @property
    def dropped(self) -> dict[str, int]:
        """How many documents each rule dropped, by its key; `near_holdout` comes last."""
        return {
            reason: self._drops[reason] for reason in (*RULES, NEAR_HOLDOUT) if self._drops[reason]
        }

    def drop(self, verdict: Verdict, place: str, text: str) -> None:
        """Count a drop; the first ten of a reason are kept as examples, with the text's start."""
        self._drops[verdict.reason] += 1
        if self._drops[verdict.reason] <= EXAMPLES:
            numbers = (
                {"value": round(verdict.value, 4), "limit": verdict.limit} if verdict.limit else {}
            )
            self._examples.append(
                {
                    "source": self.source,
                    "reason": verdict.reason,
                    "place": place,
                    **numbers,
                    "snippet": text[:SNIPPET],
                }
            )

    def examples(self) -> Iterator[dict[str, Any]]:
        """The examples by reason: malformed records, then rules in their order, duplicates last."""
        for place in self.malformed.examples:
            yield {"source": self.source, "reason": "malformed", "place": place}
        order = [*RULES, DUPLICATE, NEAR_HOLDOUT]
        yield from sorted(self._examples, key=lambda example: order.index(example["reason"]))

    def reasons(self) -> str:
        """The counts in one line for an error message."""
        counts = {"malformed": self.malformed.count, **self.dropped, DUPLICATE: self.duplicates}
        return (
            ", ".join(f"{reason} {count}" for reason, count in counts.items() if count)
            or "nothing was read"
        )
