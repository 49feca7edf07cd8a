"""Two models side by side: what the second gained, and what it forgot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from langraft.core.errors import BadInput
from langraft.evals.bits import Bits
from langraft.evals.statistics import RESAMPLES, paired
from langraft.evals.suites import SUITES, group_of

SURE = 0.05


@dataclasses.dataclass(frozen=True)
class TextScore:
    """Bits per byte of both models on one body of text.

    Attributes:
        change: relative, the model against the base; `low` and `high` its 95 % interval over the
            documents.
    """

    name: str
    language: str
    documents: int
    bytes: int
    base: float
    model: float
    change: float
    low: float
    high: float


def text_score(
    name: str, language: str, base: Sequence[Bits], model: Sequence[Bits], seed: int = 0
) -> TextScore:
    """Compare two models' bits, document by document.

    Raises:
        BadInput: the two did not score the same documents.
    """
    if [b.bytes for b in base] != [m.bytes for m in model] or not base:
        raise BadInput(f"{name}: the two models did not score the same documents")
    sizes = np.array([b.bytes for b in base], dtype=float)
    spent = np.array([[b.per_byte for b in base], [m.per_byte for m in model]]) * sizes
    chosen = np.random.default_rng(seed).integers(0, len(sizes), (RESAMPLES, len(sizes)))
    changes = spent[1][chosen].sum(1) / spent[0][chosen].sum(1) - 1
    low, high = np.quantile(changes, [0.025, 0.975])
    before, after = spent.sum(1) / sizes.sum()
    change = after / before - 1
    return TextScore(
        *(name, language, len(sizes), int(sizes.sum()), float(before), float(after)),
        *(float(change), float(low), float(high)),
    )


@dataclasses.dataclass(frozen=True)
class SuiteScore:
    """A suite under both models: estimates, the paired difference, and the same by group."""

    suite: str
    title: str
    language: str
    card: Mapping[str, Any]
    base: Mapping[str, Any]
    model: Mapping[str, Any]
    difference: Mapping[str, Any]
    groups: Sequence[Mapping[str, Any]]


def suite_score(
    base: Mapping[str, Any],
    model: Mapping[str, Any],
    base_lines: Sequence[Mapping[str, Any]],
    model_lines: Sequence[Mapping[str, Any]],
) -> SuiteScore:
    """Compare two evaluations of one exam.

    Args:
        base, model: summaries as JSON.
        base_lines, model_lines: their result lines.

    Raises:
        BadInput: they are not of the same items under the same protocol.
    """
    for key in ("suite", "items", "protocol", "shots", "shots chosen", "window"):
        if base["card"][key] != model["card"][key]:
            raise BadInput(
                f"compare: the two evaluations differ in {key}: "
                f"{base['card'][key]!r} and {model['card'][key]!r}"
            )
    suite = base["card"]["suite"]
    measure = SUITES[suite].measure
    first = {line["id"]: float(line["score"]) for line in base_lines}
    second = {line["id"]: float(line["score"]) for line in model_lines}
    names = sorted(first)
    by_group: dict[str, list[str]] = {}
    for name in names:
        by_group.setdefault(group_of(suite, name.rsplit("/", 1)[0]), []).append(name)
    return SuiteScore(
        suite,
        SUITES[suite].title,
        SUITES[suite].language,
        base["card"],
        base["measures"][measure]["micro"],
        model["measures"][measure]["micro"],
        _difference(names, first, second),
        [
            {
                "group": group,
                **_pair(base["measures"][measure], model["measures"][measure], group),
                **_difference(held, first, second),
            }
            for group, held in sorted(by_group.items())
            if group
        ],
    )


def _pair(base: Mapping[str, Any], model: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {
        "base": base["groups"][group],
        "model": model["groups"][group],
    }


def _difference(
    names: Sequence[str], first: Mapping[str, float], second: Mapping[str, float]
) -> dict[str, Any]:
    return dataclasses.asdict(paired([first[n] for n in names], [second[n] for n in names]))


def verdicts(
    texts: Sequence[TextScore],
    suites: Sequence[SuiteScore],
    new: str,
    max_rise: float,
    name: Callable[[str], str] = lambda code: code,
) -> list[dict[str, Any]]:
    """One sentence for each measure with whether it is as it should be: the new language better,
    the old ones not worse by more than `max_rise` of their bits, no suite surely worse.

    Args:
        new: the code of the new language.
        name: writes a language's name.
    """
    found = []
    for text in texts:
        learnt = text.language == new
        good = text.change < 0 if learnt else text.change <= max_rise
        found.append(
            {
                "good": bool(good),
                "text": f"{text.name} ({name(text.language)}): bits per byte {text.change:+.1%}, "
                + ("lower is better" if learnt else f"at most {max_rise:+.1%} is allowed"),
            }
        )
    for suite in suites:
        change = suite.difference
        sure = change["p"] < SURE
        word = "worse" if change["value"] < 0 else "better"
        found.append(
            {
                "good": not (sure and change["value"] < 0),
                "text": f"{suite.title}: {100 * change['value']:+.1f} points, "
                + (f"surely {word}" if sure else "no sure change")
                + f" (p = {change['p']:.2g})",
            }
        )
    return found
