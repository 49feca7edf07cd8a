"""What every step did: documents and bytes that came in, what was dropped and changed, how long it
took, and ten examples of each.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

EXAMPLES = 10
SNIPPET = 200  # characters


@dataclasses.dataclass
class Step:
    """The account of one step.

    Attributes:
        documents, size: what came in, and the UTF-8 bytes of its text.
        dropped, lost: documents and bytes by the reason to drop them.
        changed: documents whose text was changed, and what else was counted (redactions by kind).
        after: bytes of what went on.
        seconds: time of all workers together.
        examples: up to ten of each reason.
    """

    name: str
    documents: int = 0
    size: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    lost: Counter[str] = dataclasses.field(default_factory=Counter)
    changed: Counter[str] = dataclasses.field(default_factory=Counter)
    after: int = 0
    seconds: float = 0.0
    examples: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def drop(self, reason: str, size: int, example: Mapping[str, Any]) -> None:
        """Count one dropped document; the first ten of a reason become examples."""
        self.dropped[reason] += 1
        self.lost[reason] += size
        if self.dropped[reason] <= EXAMPLES:
            self.examples.append({"reason": reason, **example})

    def change(self, what: str, example: Mapping[str, Any] | None = None, many: int = 1) -> None:
        """Count changes that drop nothing; the first ten with an example keep it."""
        before = self.changed[what]
        self.changed[what] += many
        if example is not None and before < EXAMPLES:
            self.examples.append({"reason": what, "changed": True, **example})

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what `to_json` gave for another part of the work, parts in their order."""
        self.documents += other["documents"]
        self.size += other["size"]
        self.after += other["after"]
        self.seconds += other["seconds"]
        for example in other["examples"]:
            counter = self.changed if example.get("changed") else self.dropped
            shown = sum(e["reason"] == example["reason"] for e in self.examples)
            if shown < EXAMPLES and counter is not None:
                self.examples.append(example)
        for name in ("dropped", "lost", "changed"):
            getattr(self, name).update(other[name])

    def to_json(self) -> dict[str, Any]:
        """All fields, JSON-able."""
        return {**dataclasses.asdict(self), **{n: dict(getattr(self, n)) for n in COUNTERS}}


COUNTERS = ("dropped", "lost", "changed")


class Account:
    """The steps of one source, in their order."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}

    def step(self, name: str) -> Step:
        """The step called `name`; new ones come last."""
        return self.steps.setdefault(name, Step(name))

    def add(self, others: Iterable[Mapping[str, Any]]) -> None:
        """Add the steps of a part."""
        for other in others:
            self.step(other["name"]).add(other)

    def dropped(self) -> dict[str, int]:
        """Documents by reason over all steps."""
        total: Counter[str] = Counter()
        for step in self.steps.values():
            total.update(step.dropped)
        return {reason: count for reason, count in total.items() if count}

    def reasons(self) -> str:
        """The counts in one line for an error message."""
        parts = ", ".join(f"{reason} {count}" for reason, count in self.dropped().items())
        return parts or "nothing was read"
