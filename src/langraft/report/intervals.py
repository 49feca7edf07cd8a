"""Scores of two models with their intervals, as inline SVG: one row a measure, a dot and a
whisker a model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from langraft.report.charts import ticks

WIDTH, LEFT, RIGHT, TOP, ROW, FOOT = 760, 210, 20, 8, 40, 30
APART = 9


@dataclasses.dataclass(frozen=True)
class Mean:
    """A value with its interval, in the unit of the axis."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, estimate: Mapping[str, Any], factor: float = 100) -> Mean:
        """From an estimate as JSON, times `factor`."""
        return cls(*(factor * estimate[key] for key in ("value", "low", "high")))


@dataclasses.dataclass(frozen=True)
class Pair:
    """One row: a label and the means of the models, by the CSS class that colours each."""

    label: str
    means: Mapping[str, Mean]


def interval_chart(title: str, pairs: Sequence[Pair], guide: float | None = None) -> Markup:
    """The rows over one axis.

    Args:
        guide: a vertical reference, such as chance, or no change.

    Raises:
        ValueError: there is no row.
    """
    if not pairs:
        raise ValueError(f"chart {title!r} has no rows")
    ends = [end for pair in pairs for mean in pair.means.values() for end in (mean.low, mean.high)]
    ends += [] if guide is None else [guide]
    low, high = min(ends), max(ends)
    axis = ticks(low, high if high > low else low + 1)
    height = TOP + ROW * len(pairs) + FOOT

    def x(value: float) -> float:
        share = (value - axis[0]) / (axis[-1] - axis[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    parts = [_tick(x(value), value, axis, height) for value in axis]
    if guide is not None:
        parts.append(
            Markup('<line class="mark" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                x(guide), TOP, height - FOOT
            )
        )
    for number, pair in enumerate(pairs):
        middle = TOP + ROW * number + ROW / 2
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                LEFT - 14, middle + 4.5, pair.label
            )
        )
        first = middle - APART * (len(pair.means) - 1) / 2
        for place, (tone, mean) in enumerate(pair.means.items()):
            parts.append(_mean(x, tone, mean, round(first + APART * place, 1), pair.label))
    drawn = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="chart">{}</svg>')
    return drawn.format(WIDTH, height, title, Markup("").join(parts))


def _tick(x: float, value: float, axis: Sequence[float], height: int) -> Markup:
    decimals = 0 if axis[1] - axis[0] >= 1 else 1 if axis[1] - axis[0] >= 0.1 else 2
    drawn = Markup(
        '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="tick" x="{0}" y="{3}" text-anchor="middle">{4}</text>'
    )
    return drawn.format(x, TOP, height - FOOT, height - 8, f"{value:.{decimals}f}")


def _mean(x: Any, tone: str, mean: Mean, y: float, label: str) -> Markup:
    drawn = Markup(
        '<line class="line {0}" x1="{1}" x2="{2}" y1="{3}" y2="{3}"/>'
        '<circle class="dot {0}" cx="{4}" cy="{3}" r="5"><title>{5}</title></circle>'
    )
    tip = f"{label}: {mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f})"
    return drawn.format(tone, x(mean.low), x(mean.high), y, x(mean.value), tip)
