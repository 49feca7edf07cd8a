"""Line charts as inline SVG: colours and type come from the page's style sheet, so that light and
dark both work.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 306
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 50
MOST_POINTS = 400
# Below this, absolutely or relative to the values, steps between ticks drown in rounding.
FINEST = 1e-12

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve. `tone` is a CSS class; `dots` marks every point and gives it a tooltip;
    `hollow_first` marks a start.
    """

    name: str
    points: Sequence[Point]
    tone: str
    dots: bool = False
    hollow_first: bool = False


@dataclasses.dataclass(frozen=True)
class Guide:
    """A horizontal reference at `value`."""

    name: str
    value: float
    tone: str


@dataclasses.dataclass(frozen=True)
class Mark:
    """A vertical boundary at `at`, labelled at the top."""

    name: str
    at: float


@dataclasses.dataclass(frozen=True)
class Chart:
    """A titled chart with its legend: (tone, name) of every line and guide."""

    title: str
    note: str
    legend: Sequence[tuple[str, str]]
    svg: Markup


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten) that span `low` to `high`, both
    covered.

    Raises:
        ValueError: `high` is not above `low`.
    """
    if not high > low:
        raise ValueError(f"no ticks between {low} and {high}")
    rough = max((high - low) / count, abs(high) * FINEST, abs(low) * FINEST, FINEST)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(first + 1, last) + 1)]


def number(value: float, step: float = 1.0) -> str:
    """A tick or a count as people write it: 1.5M, 20k, 3; below 1,000 with the decimals that `step`
    needs.
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points: means of equally long runs, so that no spike is picked by chance."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def smooth(points: Sequence[Point], share: float = 0.04) -> list[Point]:
    """A centred moving mean over `share` of the points on either side."""
    half = max(1, round(len(points) * share))
    ys = [y for _, y in points]
    result = []
    for index, (x, _) in enumerate(points):
        near = ys[max(0, index - half) : index + half + 1]
        result.append((x, sum(near) / len(near)))
    return result


@dataclasses.dataclass(frozen=True)
class _Plane:
    """The drawing area: data ranges mapped to SVG units."""

    xs: Sequence[float]
    ys: Sequence[float]

    def x(self, value: float) -> float:
        share = (value - self.xs[0]) / (self.xs[-1] - self.xs[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.ys[0]) / (self.ys[-1] - self.ys[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def line_chart(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    guides: Sequence[Guide] = (),
    marks: Sequence[Mark] = (),
    note: str = "",
) -> Chart:
    """Draw `lines` over each other with `guides` and `marks`.

    Raises:
        ValueError: no line has a point.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError(f"chart {title!r} has no points")
    plane = _plane(points, [guide.value for guide in guides])
    parts = [_grid(plane, x_label), *(_mark(plane, mark) for mark in marks)]
    parts += [_guide(plane, guide) for guide in guides]
    parts += [_line(plane, line) for line in lines]
    svg = Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="chart">{}</svg>'
    ).format(WIDTH, HEIGHT, title, Markup("").join(parts))
    legend = [(line.tone, line.name) for line in lines if line.name]
    legend += [(guide.tone, guide.name) for guide in guides]
    return Chart(title, note, legend, svg)


def _plane(points: Sequence[Point], guides: Sequence[float]) -> _Plane:
    ys = [y for _, y in points] + list(guides)
    low, high = min(ys), max(ys)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    right = max(x for x, _ in points)
    left = min(x for x, _ in points)
    across = ticks(min(left, 0.0), right if right > min(left, 0.0) else 1.0)
    return _Plane((across[0], max(right, across[1])), ticks(low - margin, high + margin))


def _grid(plane: _Plane, x_label: str) -> Markup:
    bottom, parts = HEIGHT - BOTTOM, []
    for value in plane.ys:
        y = plane.y(value)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                LEFT, WIDTH - RIGHT, y, y
            )
        )
        label = Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>')
        parts.append(
            label.format(LEFT - 8, round(y + 4.5, 1), number(value, plane.ys[1] - plane.ys[0]))
        )
    across = ticks(plane.xs[0], plane.xs[-1])
    for value in across:
        if value > plane.xs[-1]:
            continue
        label = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
        parts.append(
            label.format(plane.x(value), bottom + 21, number(value, across[1] - across[0]))
        )
    name = Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>')
    parts.append(name.format(WIDTH - RIGHT, HEIGHT - 6, x_label))
    return Markup("").join(parts)


def _mark(plane: _Plane, mark: Mark) -> Markup:
    x = plane.x(mark.at)
    drawn = Markup(
        '<line class="mark" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="marktext" x="{}" y="{}">{}</text>'
    )
    return drawn.format(x, x, TOP, HEIGHT - BOTTOM, x + 5, TOP + 11, mark.name)


def _guide(plane: _Plane, guide: Guide) -> Markup:
    y = plane.y(guide.value)
    drawn = Markup(
        '<line class="guide {}" x1="{}" x2="{}" y1="{}" y2="{}"><title>{}</title></line>'
    )
    tip = f"{guide.name}: {guide.value:.3f}"
    return drawn.format(guide.tone, LEFT, WIDTH - RIGHT, y, y, tip)


def _line(plane: _Plane, line: Line) -> Markup:
    places = [(plane.x(x), plane.y(y)) for x, y in line.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    parts = [Markup('<polyline class="line {}" points="{}"/>').format(line.tone, path)]
    if line.dots:
        for index, ((x, y), (tokens, value)) in enumerate(zip(places, line.points, strict=True)):
            hollow = " hollow" if line.hollow_first and index == 0 else ""
            dot = Markup(
                '<circle class="dot {}{}" cx="{}" cy="{}" r="5"><title>{}</title></circle>'
            )
            tip = f"{escape(line.name)}: {value:.3f} at {number(tokens)}"
            parts.append(dot.format(line.tone, hollow, x, y, Markup(tip)))
    return Markup("").join(parts)
