"""Bar charts as inline SVG, in the same style as the line charts."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from langraft.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    number,
    ticks,
)


def bar_chart(
    title: str,
    unit: str,
    edges: Sequence[float],
    counts: Sequence[int],
    logarithmic: bool = False,
    note: str = "",
) -> Chart:
    """A histogram: `counts` over the bins between `edges`.

    Args:
        title: above the chart.
        unit: what the values are, under the axis.
        edges: one more than `counts`; ascending.
        counts: documents a bin.
        logarithmic: the bins are powers and are drawn equally wide.
        note: below the chart.

    Raises:
        ValueError: edges and counts do not fit each other.
    """
    if len(edges) != len(counts) + 1 or not counts:
        raise ValueError(f"{len(counts)} bins need as many edges and one, not {len(edges)}")
    tops = ticks(0, max(1, *counts))
    bottom, across = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT
    step = across / len(counts)
    parts = []
    for value in tops:
        y = round(bottom - value / tops[-1] * (bottom - TOP), 1)
        parts.append(_grid(y, number(value, tops[1] - tops[0])))
    for place, count in enumerate(counts):
        height = round(count / tops[-1] * (bottom - TOP), 1)
        x = round(LEFT + place * step + 1, 1)
        tip = f"{_edge(edges[place])} to {_edge(edges[place + 1])}: {count:,}"
        drawn = (
            '<rect class="bin" x="{}" y="{}" width="{}" height="{}" rx="2"><title>{}</title></rect>'
        )
        parts.append(
            Markup(drawn).format(x, round(bottom - height, 1), round(step - 2, 1), height, tip)
        )
    every = max(1, -(-len(edges) // 8))
    for place in range(0, len(edges), every):
        label = Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>')
        at, anchor = round(LEFT + place * step, 1), "end" if place == len(counts) else "middle"
        parts.append(label.format(at, bottom + 21, anchor, _edge(edges[place])))
    name = unit + (", doubling from bar to bar" if logarithmic else "")
    axis = Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>')
    parts.append(axis.format(WIDTH - RIGHT, HEIGHT - 6, name))
    svg = Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="chart">{}</svg>'
    ).format(WIDTH, HEIGHT, title, Markup("").join(parts))
    return Chart(title, note, (), svg)


def _grid(y: float, label: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>'
    ).format(LEFT, WIDTH - RIGHT, y, y, LEFT - 8, round(y + 4.5, 1), label)


def _edge(value: float) -> str:
    """An edge with two or three digits that count."""
    if value and abs(value) < 10:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) < 1e6 else number(value)
