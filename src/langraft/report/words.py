"""How the report writes numbers, times and languages."""

from __future__ import annotations

from langraft.core.languages import LANGUAGES

MINUS = "\N{MINUS SIGN}"
SPACE, NARROW = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"


def language(code: str) -> str:
    """The English name of a language code; the code itself when the table does not hold it."""
    return LANGUAGES.get(code, code)


def percent(share: float) -> str:
    """A relative change with its sign: +1.2 %, \N{MINUS SIGN}5.7 %."""
    return f"{share:+.1%}".replace("-", MINUS).replace("%", f"{NARROW}%")


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.4 s, 41 s, 6 min 40 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


def size(count: float) -> str:
    """Bytes in decimal units: 640 B, 4.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def figure(value: object) -> str:
    """A measured value: integers with separators, others with four significant digits, text as it
    is.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
