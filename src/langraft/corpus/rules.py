"""The rules a document must pass: tables of thresholds by language, each number with its source."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from langraft.core.errors import BadInput
from langraft.corpus.measures import Measured

GOPHER = "Gopher: Rae et al. 2021, arXiv 2112.11446, table A1"
FINEWEB2 = "FineWeb-2: Penedo et al. 2025, arXiv 2506.20920, configs/cmn_Hani.yml"
OWN = "own"

# What a threshold's key measures, in the order in which a document is judged: cheap ones first.
RULES: Mapping[str, Callable[[Measured], float]] = {
    "min_tokens": Measured.tokens,
    "min_script_share": Measured.script_share,
    "max_digit_share": Measured.digit_share,
    "max_symbol_share": Measured.symbol_share,
    "max_garbage_share": Measured.garbage_share,
    "max_duplicate_line_share": Measured.duplicate_line_share,
    "max_duplicate_line_character_share": Measured.duplicate_line_character_share,
    "max_short_line_share": Measured.short_line_share,
    "max_top_2gram_share": lambda text: text.top_ngram_share(2),
    "max_top_4gram_share": lambda text: text.top_ngram_share(4),
    "max_repeated_5gram_share": lambda text: text.repeated_ngram_share(5),
    "max_repeated_10gram_share": lambda text: text.repeated_ngram_share(10),
    "max_repeated_20gram_share": lambda text: text.repeated_ngram_share(20),
}


class Row(NamedTuple):
    """One threshold: its key in `RULES`, the limit, and who says so."""

    key: str
    limit: float
    source: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The thresholds of one language and the scripts it is written in; none: any script will do."""

    scripts: tuple[str, ...]
    rows: tuple[Row, ...]


TABLES: Mapping[str, Table] = {
    # A Chinese word is 1.6 to 2 characters and a token here is one character, so limits that
    # FineWeb-2 puts on n words stand at 2n tokens.
    "zh": Table(
        ("Han",),
        (
            Row("min_tokens", 50, f"{GOPHER} (50 words)"),
            Row(
                "min_script_share",
                0.25,
                f"{OWN}: at this share half of the words are foreign (1.6 and 5 letters a word)",
            ),
            Row("max_digit_share", 0.25, OWN),
            Row("max_symbol_share", 0.4, OWN),
            Row("max_garbage_share", 0.005, OWN),
            Row("max_duplicate_line_share", 0.287, f"{FINEWEB2} (dup_line_frac)"),
            Row("max_duplicate_line_character_share", 0.2, GOPHER),
            Row("max_short_line_share", 0.5, OWN),
            Row("max_top_4gram_share", 0.256, f"{FINEWEB2} (top 2-gram)"),
            Row("max_repeated_20gram_share", 0.127, f"{FINEWEB2} (dup 10-gram)"),
        ),
    ),
    "en": Table(
        ("Latin",),
        (
            Row("min_tokens", 50, f"{GOPHER} (50 words)"),
            Row("min_script_share", 0.8, OWN),
            Row("max_digit_share", 0.25, OWN),
            Row("max_symbol_share", 0.3, OWN),
            Row("max_garbage_share", 0.005, OWN),
            Row("max_duplicate_line_share", 0.3, GOPHER),
            Row("max_duplicate_line_character_share", 0.2, GOPHER),
            Row("max_short_line_share", 0.5, OWN),
            Row("max_top_2gram_share", 0.2, GOPHER),
            Row("max_top_4gram_share", 0.16, GOPHER),
            Row("max_repeated_10gram_share", 0.1, GOPHER),
        ),
    ),
    "any": Table(
        (),
        (
            Row("min_tokens", 20, OWN),
            Row("max_digit_share", 0.3, OWN),
            Row("max_symbol_share", 0.5, OWN),
            Row("max_garbage_share", 0.005, OWN),
            Row("max_duplicate_line_share", 0.3, GOPHER),
            Row("max_duplicate_line_character_share", 0.2, GOPHER),
            Row("max_repeated_20gram_share", 0.127, f"{FINEWEB2} (dup 10-gram)"),
        ),
    ),
}


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """A table with a recipe's overrides laid over it: limits by key, in the order of `RULES`."""

    table: str
    scripts: tuple[str, ...]
    limits: Mapping[str, float]


class Verdict(NamedTuple):
    """Whether a document stays; if not, the threshold's key, what was measured, and the limit."""

    kept: bool
    reason: str = ""
    value: float = 0.0
    limit: float = 0.0


KEPT = Verdict(True)


def thresholds(table: str, overrides: Mapping[str, float] | None = None) -> Thresholds:
    """The limits of the named table with `overrides` laid over them.

    Raises:
        BadInput: no such table, no such key, a limit outside its range, or a script rule on a table
            without scripts.
    """
    if table not in TABLES:
        raise BadInput(f"corpus.rules: no table is called {table!r}; {_nearest(table, TABLES)}")
    chosen = TABLES[table]
    limits = {row.key: float(row.limit) for row in chosen.rows}
    for key, limit in (overrides or {}).items():
        _check(key, limit, table)
        limits[key] = float(limit)
    return Thresholds(table, chosen.scripts, {key: limits[key] for key in RULES if key in limits})


def thresholds_for(
    language: str, new_language: str, rules: str, overrides: Mapping[str, float]
) -> Thresholds:
    """The limits for a source in `language` where a recipe teaches `new_language` with `rules`.

    The recipe's table and overrides hold for the language to teach. Any other language has the
    table of its code, or `any`.
    """
    if language == new_language:
        return thresholds(rules, overrides)
    return thresholds(language if language in TABLES else "any")


def judge(text: str, limits: Thresholds) -> Verdict:
    """Hold `text` against every limit; the first one that it breaks is the reason."""
    measured = Measured(text, limits.scripts)
    for key, limit in limits.limits.items():
        value = RULES[key](measured)
        if value < limit if key.startswith("min_") else value > limit:
            return Verdict(False, key, value, limit)
    return KEPT


def _check(key: str, limit: float, table: str) -> None:
    if key not in RULES:
        raise BadInput(f"corpus.thresholds: no rule is called {key!r}; {_nearest(key, RULES)}")
    if not 0 <= limit <= (float("inf") if key == "min_tokens" else 1):
        raise BadInput(f"corpus.thresholds.{key}: {limit} is not a share between 0 and 1")
    if key == "min_script_share" and not TABLES[table].scripts:
        raise BadInput(
            f"corpus.thresholds.{key}: the table {table!r} names no scripts; "
            f"only {_scripted()} can limit their share"
        )


def _scripted() -> str:
    return ", ".join(repr(name) for name, table in TABLES.items() if table.scripts)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
