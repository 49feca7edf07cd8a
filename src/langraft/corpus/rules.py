"""The rules a document must pass: tables of thresholds by language, each number with its source."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from langraft.core.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from langraft.corpus.kernels.texts import Texts

GOPHER = "Gopher: Rae et al. 2021, arXiv 2112.11446, table A1"
FINEWEB2 = "FineWeb-2: Penedo et al. 2025, arXiv 2506.20920, configs/cmn_Hani.yml"
OWN = "own"
UNBOUNDED = ("min_tokens", "max_line_ends_per_token")  # all others are shares

# Where each threshold's measurement stands: a column of `kernels.measure`, or an n-gram's length.
# The order is the one in which the first broken limit becomes the reason.
RULES: Mapping[str, str | tuple[str, int]] = {
    "min_tokens": "tokens",
    "min_script_share": "script_share",
    "max_digit_share": "digit_share",
    "max_symbol_share": "symbol_share",
    "max_punctuation_share": "punctuation_share",
    "max_garbage_share": "garbage_share",
    "max_html_share": "html_share",
    "max_run_share": "run_share",
    "max_duplicate_line_share": "duplicate_line_share",
    "max_duplicate_line_character_share": "duplicate_line_character_share",
    "max_short_line_share": "short_line_share",
    "min_punctuated_line_share": "punctuated_line_share",
    "max_line_ends_per_token": "line_ends_per_token",
    **{f"max_top_{n}gram_share": ("top", n) for n in (2, 3, 4, 6)},
    **{f"max_repeated_{n}gram_share": ("repeated", n) for n in (5, 6, 7, 8, 9, 10, 14, 20)},
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
            Row("max_html_share", 0.3, OWN),
            Row("max_run_share", 0.2, OWN),
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
            Row("max_html_share", 0.3, OWN),
            Row("max_run_share", 0.2, OWN),
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
            Row("max_html_share", 0.3, OWN),
            Row("max_run_share", 0.2, OWN),
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
if TYPE_CHECKING:
    Matrix = npt.NDArray[np.float64]


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
    able = {key: limits[key] for key in RULES if key in limits and not _idle(key, limits[key])}
    return Thresholds(table, chosen.scripts, able)


def _idle(key: str, limit: float) -> bool:
    """Whether nothing can break the limit; it is not measured then."""
    if key.startswith("min_"):
        return limit == 0
    return limit >= 1 and key not in UNBOUNDED


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


def measured(texts: Texts, keys: Iterable[str], scripts: tuple[str, ...]) -> Matrix:
    """What the rules `keys` look at: one row a text, one column a key, in the order of `keys`."""
    from langraft.corpus.kernels.measure import COLUMNS, measure

    places = [RULES[key] for key in keys]
    top = tuple(n for kind, n in _grams(places) if kind == "top")
    repeated = tuple(n for kind, n in _grams(places) if kind == "repeated")
    columns = [*COLUMNS, *(("top", n) for n in top), *(("repeated", n) for n in repeated)]
    matrix: Matrix = measure(texts, scripts, top, repeated)
    return matrix[:, [columns.index(place) for place in places]]


def _grams(places: Iterable[str | tuple[str, int]]) -> list[tuple[str, int]]:
    return [place for place in places if not isinstance(place, str)]


def judge(texts: Texts, limits: Thresholds) -> list[Verdict]:
    """Hold every text against every limit; the first one that it breaks is the reason."""
    import numpy as np

    keys = list(limits.limits)
    if not keys:
        return [KEPT] * len(texts)
    matrix = measured(texts, keys, limits.scripts)
    bounds = np.array([limits.limits[key] for key in keys])
    lower = np.array([key.startswith("min_") for key in keys])
    broken = np.where(lower, matrix < bounds, matrix > bounds)
    first = np.argmax(broken, axis=1)
    verdicts = [KEPT] * len(texts)
    for row in np.flatnonzero(broken.any(axis=1)).tolist():
        column = int(first[row])
        verdicts[row] = Verdict(
            False, keys[column], float(matrix[row, column]), float(bounds[column])
        )
    return verdicts


def _check(key: str, limit: float, table: str) -> None:
    if key not in RULES:
        raise BadInput(f"corpus.thresholds: no rule is called {key!r}; {_nearest(key, RULES)}")
    if not 0 <= limit <= (float("inf") if key in UNBOUNDED else 1):
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
