"""The measured outcome: cards before and after, the forgetting meter, targets, curves, the table of
bits per byte.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from langraft.report.run import Run, finite
from langraft.report.words import figure, language, percent

MODELS = {
    "base": "untouched base",
    "grafted": "grafted, zero steps",
    "adapted": "after training",
    "twin": "trained alike, not extended",
}
Bits = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of a card; `share` is its length as a share of the longest."""

    label: str
    text: str
    share: float
    tone: str


@dataclasses.dataclass(frozen=True)
class Meter:
    """The forgetting meter: a rise in bits per byte against its limit, as positions from 0 to 100
    on one track.
    """

    rise: str
    limit: str
    zero_at: float
    limit_at: float
    start: float
    width: float
    breached: bool


@dataclasses.dataclass(frozen=True)
class Card:
    """One measure before and after. `good` is None when nothing says which way is better."""

    title: str
    headline: str
    caption: str
    good: bool | None
    bars: Sequence[Bar]
    meter: Meter | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """One target with its verdict."""

    name: str
    value: str
    limit: str
    met: bool


def languages(run: Run) -> dict[str, str]:
    """The language of every source, from the evaluation, the corpus or the recipe; the new language
    first.
    """
    found: dict[str, str] = {}
    for source in (run.recipe.get("corpus") or {}).get("sources") or ():
        found[source["name"]] = source["language"]
    for name, source in run.results("corpus").get("sources", {}).items():
        found[name] = source["language"]
    found |= run.results("eval").get("languages", {})
    return dict(sorted(found.items(), key=lambda item: (item[1] != new_language(run), item[1])))


def new_language(run: Run) -> str:
    """The code of the language that the run teaches; empty when the recipe names none."""
    return str((run.recipe.get("language") or {}).get("code", ""))


def all_bits(run: Run) -> dict[str, Bits]:
    """Bits per byte by model and source, as far as the run has come."""
    found = run.results("eval").get("bits") or run.results("graft").get("bits") or {}
    return {model: found[model] for model in MODELS if found.get(model)}


def mean(bits: Bits, sources: Iterable[str]) -> float | None:
    """The unweighted mean over `sources`; None when one of them was not measured."""
    names = list(sources)
    if not names or any(name not in bits for name in names):
        return None
    return sum(bits[name] for name in names) / len(names)


def forgetting_limit(run: Run) -> float | None:
    """The old languages' allowed relative rise; None when the recipe sets none."""
    limit = (run.recipe.get("forgetting") or {}).get("max_rise")
    return limit if finite(limit) else None


def sources_of(run: Run, code: str, bits: Bits) -> list[str]:
    """The sources in the language `code` that `bits` holds."""
    return [name for name, spoken in languages(run).items() if spoken == code and name in bits]


def targets(run: Run) -> list[Target]:
    """The targets that the evaluation judged; those marked `percent` are relative changes."""
    found = []
    for target in run.results("eval").get("targets", ()):
        form = percent if target.get("percent") else figure
        value, limit = form(target["value"]), form(target["limit"])
        found.append(Target(str(target["name"]), value, limit, bool(target["met"])))
    return found


def cards(run: Run) -> list[Card]:
    """Tokens per character, then bits per byte of every language, the new one first."""
    codes = list(dict.fromkeys(languages(run).values()))
    found = [_tokens_card(run), *(_bits_card(run, code) for code in codes)]
    return [card for card in found if card is not None]


def tokens_per_character(run: Run) -> dict[str, tuple[float, float]]:
    """Tokens per character before and after, by source."""
    measured = run.results("eval").get("tokens_per_character") or run.results("tokenizer").get(
        "tokens_per_character", {}
    )
    return {
        name: (v["base"], v["adapted"] if "adapted" in v else v["extended"])
        for name, v in measured.items()
    }


def _tokens_card(run: Run) -> Card | None:
    measured, spoken = tokens_per_character(run), languages(run)
    code = new_language(run)
    rates: dict[str, tuple[float, float]] = {}
    for each in dict.fromkeys(spoken.values()):
        pairs = [pair for name, pair in measured.items() if spoken.get(name) == each]
        if pairs:
            olds, news = zip(*pairs, strict=True)
            rates[each] = (sum(olds) / len(pairs), sum(news) / len(pairs))
    if code not in rates:
        return None
    before, after = rates[code]
    fewer = f"{before / after:.2f}\N{MULTIPLICATION SIGN} fewer"
    bars = []
    for each, (old, new) in rates.items():
        bars.append((f"{language(each)}, untouched base", old, "base"))
        bars.append(
            (f"{language(each)}, extended tokenizer", new, "new" if each == code else "old")
        )
    return Card(
        title=f"{language(code)}: tokens per character",
        headline="unchanged" if after == before else fewer,
        caption="tokens to read or write the same text; lower is cheaper",
        good=None if after == before else after < before,
        bars=_bars(bars, "{:.3f}"),
    )


def _bits_card(run: Run, code: str) -> Card | None:
    bits = all_bits(run)
    sources = sources_of(run, code, bits.get("base", {}))
    values = {model: value for model in bits if (value := mean(bits[model], sources)) is not None}
    if "base" not in values or len(values) < 2:
        return None
    latest = "adapted" if "adapted" in values else "grafted"
    if latest not in values:
        return None
    change, is_new = values[latest] / values["base"] - 1, code == new_language(run)
    limit = forgetting_limit(run)
    tones = {
        "base": "base",
        "grafted": "graft",
        "adapted": "new" if is_new else "old",
        "twin": "twin",
    }
    return Card(
        title=f"{language(code)}: bits per byte",
        headline=percent(change),
        caption=_caption(
            len(sources), f"{MODELS[latest]} against the untouched base; lower is better"
        ),
        good=change < 0 if is_new else (None if limit is None else change <= limit),
        bars=_bars(
            [(MODELS[model], value, tones[model]) for model, value in values.items()], "{:.3f}"
        ),
        meter=None if is_new or limit is None else forgetting_meter(change, limit),
    )


def _caption(sources: int, text: str) -> str:
    return f"{text} (mean of {sources} sources)" if sources > 1 else text


def _bars(rows: Sequence[tuple[str, float, str]], form: str) -> list[Bar]:
    longest = max(value for _, value, _ in rows)
    return [
        Bar(label, form.format(value), value / longest if longest else 0.0, tone)
        for label, value, tone in rows
    ]


def forgetting_meter(rise: float, limit: float) -> Meter:
    """Place a relative rise on a track from -1 to +2 limits; what lies outside goes to its end."""
    reach = limit or 0.01
    at = [min(100.0, max(0.0, (value / reach + 1) / 3 * 100)) for value in (0.0, limit, rise)]
    start, end = sorted((at[0], at[2]))
    return Meter(
        percent(rise),
        percent(limit),
        at[0],
        at[1],
        round(start, 2),
        round(end - start, 2),
        rise > limit,
    )


def bits_table(run: Run) -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """Column names, and for every source its name, language and bits per byte by model."""
    bits = all_bits(run)
    names = [name for name in languages(run) if any(name in bits[model] for model in bits)]
    rows = [
        (
            name,
            language(languages(run)[name]),
            [f"{bits[m][name]:.3f}" if name in bits[m] else "" for m in bits],
        )
        for name in names
    ]
    return [MODELS[model] for model in bits], rows
