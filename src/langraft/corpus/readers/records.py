"""What a reader gives: texts with the place they come from, and records that cannot be used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from langraft.core.messages import warn
from langraft.corpus.kernels.texts import Texts

EXAMPLES = 10


class Record(NamedTuple):
    """One text of a file.

    `line` is the line where it starts, from 1; in a `.json` array, in parquet, arrow and a
    Wikipedia dump it is the number of the record.
    """

    text: str
    line: int


class Run(NamedTuple):
    """Several texts of a file, and the line of each as in `Record`: text that no Python object was
    made for.
    """

    texts: Texts
    lines: npt.NDArray[np.int64]


class Flaw(NamedTuple):
    """A record that cannot be used: where, as in `Record`, and why."""

    line: int
    why: str


@dataclasses.dataclass
class Malformed:
    """How many records could not be used, and the first of them as `file:line: why`."""

    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    def add(self, path: Path, flaw: Flaw) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{path}:{flaw.line}: {flaw.why}")

    def warn(self, name: str) -> None:
        """Tell the person at the terminal, if there is anything to tell."""
        if self.count:
            warn(f"{name}: {self.count:,} malformed records skipped; the first: {self.examples[0]}")


def from_object(value: Any, text_key: str, line: int) -> Record | Flaw:
    """The text of a decoded JSON object."""
    if not isinstance(value, dict):
        return Flaw(line, f"a JSON {type(value).__name__}, not an object")
    if text_key not in value:
        return Flaw(line, f"no key {text_key!r}; it has {', '.join(map(repr, value)) or 'none'}")
    return from_value(value[text_key], text_key, line)


def from_value(text: Any, text_key: str, line: int) -> Record | Flaw:
    """A text that must be a string."""
    if not isinstance(text, str):
        return Flaw(line, f"{text_key!r} is a {type(text).__name__}, not a string")
    return Record(text, line)
