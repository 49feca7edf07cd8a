"""Sensitive topics: documents that mention too many terms of a list.

A list is a UTF-8 text file. `# category: NAME` begins a category, `# limit: N` (terms in a
document) and `# limit: N per 10000` (terms in 10,000 characters) set its limit, other lines that
begin with `#` are remarks, and every other line is one term. A document is dropped when it has more
mentions than a category's limit; without a limit, the category is counted only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.corpus.kernels.texts import Texts

_SETTING = re.compile(r"#\s*(category|limit)\s*:\s*(.*?)\s*$")
_LIMIT = re.compile(r"(\d+)(?:\s+per\s+(\d+))?$")


@dataclasses.dataclass(frozen=True)
class Limit:
    """More than `mentions` are too many: in a document, or in `characters` of it."""

    mentions: int
    characters: int | None = None

    def broken(self, mentions: int, characters: int) -> bool:
        """Whether a document of so many characters has too many."""
        if self.characters is None:
            return mentions > self.mentions
        return mentions * self.characters > self.mentions * max(characters, self.characters)


@dataclasses.dataclass(frozen=True)
class TermLists:
    """The terms of all files: each term's categories, and each category's limit."""

    terms: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, Limit | None]


def read_lists(paths: Iterable[Path]) -> TermLists:
    """Read term lists; terms are compared in lower case.

    Raises:
        BadInput: a file is missing, holds no term, has a term before any category, or a limit that
            is none; the message names file and line.
    """
    terms: dict[str, list[str]] = {}
    limits: dict[str, Limit | None] = {}
    for path in paths:
        category = ""
        before = len(terms)
        with open_binary(path) as stream:
            lines = stream.read().decode("utf-8-sig", "replace").splitlines()
        for number, raw in enumerate(lines, 1):
            line = raw.strip()
            setting = _SETTING.match(line)
            if setting and setting[1] == "category":
                category = setting[2]
                limits.setdefault(category, None)
            elif setting:
                limits[category] = _limit(setting[2], f"{path}:{number}")
            elif line and not line.startswith("#"):
                if not category:
                    raise BadInput(
                        f"{path}:{number}: the term {line!r} stands before any category; "
                        "begin the list with a line `# category: NAME`"
                    )
                held = terms.setdefault(line.lower(), [])
                if category not in held:
                    held.append(category)
        if len(terms) == before:
            raise BadInput(f"{path}: holds no new term; a term is a line without # at its start")
    return TermLists({term: tuple(held) for term, held in terms.items()}, limits)


def _limit(value: str, place: str) -> Limit:
    found = _LIMIT.match(value)
    if not found:
        raise BadInput(f"{place}: {value!r} is no limit; write `# limit: 3` or `3 per 10000`")
    return Limit(int(found[1]), int(found[2]) if found[2] else None)


class Detector:
    """Counts the mentions of terms; compiled once for many texts."""

    def __init__(self, lists: TermLists) -> None:
        import ahocorasick_rs

        self._categories = list(lists.limits)
        self._limits = [lists.limits[name] for name in self._categories]
        self._of_term = [
            [self._categories.index(name) for name in held] for held in lists.terms.values()
        ]
        self._automaton = ahocorasick_rs.AhoCorasick(
            list(lists.terms),
            matchkind=ahocorasick_rs.MatchKind.LeftmostLongest,
            implementation=ahocorasick_rs.Implementation.ContiguousNFA,
        )

    def counts(self, text: str) -> dict[str, int]:
        """Mentions by category; the longest term counts where several begin at one place."""
        found: dict[str, int] = {}
        for term, _, _ in self._automaton.find_matches_as_indexes(text.lower()):
            for category in self._of_term[term]:
                name = self._categories[category]
                found[name] = found.get(name, 0) + 1
        return found

    def judge(self, texts: Texts) -> list[tuple[dict[str, int], str]]:
        """Each text's mentions, and the first category whose limit it breaks (or nothing)."""
        return [self._judge(text) for text in texts]

    def _judge(self, text: str) -> tuple[dict[str, int], str]:
        found = self.counts(text)
        for name, limit in zip(self._categories, self._limits, strict=True):
            if limit and limit.broken(found.get(name, 0), len(text)):
                return found, name
        return found, ""
