"""The page of a comparison: what a model learnt and what it forgot, against its base. One
self-contained file, no script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from langraft.core.io import write_atomic
from langraft.report.intervals import Mean, Pair, interval_chart
from langraft.report.templates import fill
from langraft.report.words import language, percent

CARD = ("protocol", "rule", "shots", "shots chosen", "split", "window", "precision", "letter ids")


def write_comparison(found: Mapping[str, Any], page: Path) -> Path:
    """Write the page of a comparison and return its path.

    Args:
        found: `base`, `model`, `new` (a language's code), `texts`, `suites` and `verdicts`, as
            `langraft eval compare --json` prints them.

    Raises:
        RunFailed: the page cannot be written.
    """
    texts, suites = found["texts"], found["suites"]
    rendered = fill(
        "comparison.html",
        base=_short(found["base"]),
        model=_short(found["model"]),
        title=_title(found["verdicts"]),
        verdicts=found["verdicts"],
        bits_chart=_bits_chart(texts, found["new"]),
        texts=[_text_row(text) for text in texts],
        suites=[_suite(suite, found["new"]) for suite in suites],
    )
    write_atomic(page, rendered)
    return page


def _short(name: str) -> str:
    """The last two parts of a path; a hub id is no longer."""
    return "/".join(name.rstrip("/").split("/")[-2:])


def _title(verdicts: Sequence[Mapping[str, Any]]) -> str:
    bad = sum(not verdict["good"] for verdict in verdicts)
    if not bad:
        return "It learnt, and forgot nothing that was measured"
    return f"{bad} of {len(verdicts)} measures went the wrong way"


def _bits_chart(texts: Sequence[Mapping[str, Any]], new: str) -> Markup | None:
    if not texts:
        return None
    pairs = []
    for text in texts:
        tone = "new" if text["language"] == new else "old"
        mean = Mean(100 * text["change"], 100 * text["low"], 100 * text["high"])
        pairs.append(Pair(f"{text['name']} ({language(text['language'])})", {tone: mean}))
    return interval_chart("change of bits per byte, per cent", pairs, guide=0.0)


def _text_row(text: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": text["name"],
        "language": language(text["language"]),
        "base": f"{text['base']:.4f}",
        "model": f"{text['model']:.4f}",
        "change": percent(text["change"]),
        "interval": f"{percent(text['low'])} to {percent(text['high'])}",
        "size": f"{text['bytes']:,} bytes, {text['documents']} texts",
    }


def _suite(suite: Mapping[str, Any], new: str) -> dict[str, Any]:
    tone = "new" if suite["language"] == new else "old"
    lines = [
        ("all questions", suite["base"], suite["model"], suite["difference"]),
        *((g["group"], g["base"], g["model"], g) for g in suite["groups"]),
    ]
    pairs = [
        Pair(label, {"base": Mean.of(base), tone: Mean.of(model)})
        for label, base, model, _ in lines
    ]
    return {
        "title": suite["title"],
        "tone": tone,
        "chart": interval_chart(f"{suite['title']}, per cent right", pairs),
        "rows": [_suite_row(*line) for line in lines],
        "card": [(key, str(suite["card"][key])) for key in CARD if key in suite["card"]],
        "prompt": suite["card"]["prompt"],
    }


def _suite_row(
    label: str, base: Mapping[str, Any], model: Mapping[str, Any], change: Mapping[str, Any]
) -> dict[str, str]:
    points = f"{100 * change['value']:+.2f}".replace("-", "\N{MINUS SIGN}")
    low, high = (
        f"{100 * change[end]:+.1f}".replace("-", "\N{MINUS SIGN}") for end in ("low", "high")
    )
    return {
        "label": label,
        "base": f"{100 * base['value']:.2f}",
        "model": f"{100 * model['value']:.2f}",
        "points": points,
        "interval": f"{low} to {high}",
        "p": f"{change['p']:.3f}" if change["p"] >= 0.001 else "< 0.001",
        "moved": f"{change['better']} better, {change['worse']} worse of {change['count']:,}",
    }
