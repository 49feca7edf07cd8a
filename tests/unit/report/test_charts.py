from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langraft.report.charts import Guide, Line, line_chart, number, smooth, thin, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (1.81, 2.29, [1.8, 1.9, 2.0, 2.1, 2.2, 2.3]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (0, 5e-324, [0, 1e-12]),
        (7, 7 + 1e-15, [7, 7 + 1e-11]),
    ],
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_cover_the_range_with_a_handful(low: float, span: float) -> None:
    high = low + max(span, abs(low) * 1e-9)
    found = ticks(low, high)
    slack = (high - low) * 1e-6 + 1e-6
    assert found[0] <= low + slack and found[-1] >= high - slack
    assert 2 <= len(found) <= 8


def test_ticks_refuse_an_empty_range() -> None:
    with pytest.raises(ValueError, match="no ticks between 2 and 2"):
        ticks(2, 2)


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (20_000, 1, "20k"),
        (1.5e6, 1, "1.5M"),
        (2, 0.2, "2.0"),
        (1.19, 0.01, "1.19"),
        (3, 1, "3"),
        (0.25, 0.05, "0.25"),
    ],
)
def test_numbers_as_people_write_them(value: float, step: float, text: str) -> None:
    assert number(value, step) == text


def test_thin_keeps_the_mean_and_short_series() -> None:
    points = [(float(i), float(i % 7)) for i in range(1000)]
    found = thin(points, 100)
    assert len(found) == 100
    assert sum(y for _, y in found) / 100 == pytest.approx(sum(y for _, y in points) / 1000)
    assert thin(points[:100], 100) == points[:100]


def test_smooth_by_hand() -> None:
    assert smooth([(0, 0.0), (1, 3.0), (2, 6.0), (3, 3.0)]) == [
        (0, 1.5),
        (1, 3.0),
        (2, 4.0),
        (3, 4.5),
    ]


def test_a_point_lies_where_its_value_says() -> None:
    line = Line("model", [(0, 1.0), (50, 2.0), (100, 3.0)], "new", dots=True, hollow_first=True)
    chart = line_chart("Loss <&>", "tokens", [line], [Guide("base", 2.0, "base")])
    svg = str(chart.svg)
    heights = [float(part.split('"')[0]) for part in svg.split('cy="')[1:]]
    assert heights[0] > heights[1] > heights[2]
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=0.2)
    assert f'y1="{heights[1]}"' in svg.split('class="guide base"')[1]
    assert svg.count("hollow") == 1
    assert "model: 2.000 at 50" in svg
    assert 'aria-label="Loss &lt;&amp;&gt;"' in svg
    assert chart.legend == [("new", "model"), ("base", "base")]


@example([(5e-324, 0.0)])
@given(st.lists(st.tuples(st.floats(0, 1e7), st.floats(-1e3, 1e3)), min_size=1, max_size=20))
def test_any_finite_series_can_be_drawn(points: list[tuple[float, float]]) -> None:
    svg = str(line_chart("any", "x", [Line("any", points, "new")]).svg)
    drawn = [
        float(n) for pair in svg.split('points="')[1].split('"')[0].split() for n in pair.split(",")
    ]
    assert len(drawn) == 2 * len(points)
    assert all(math.isfinite(n) and -1 <= n <= 561 for n in drawn)


def test_no_points_is_a_bug_that_speaks() -> None:
    with pytest.raises(ValueError, match="has no points"):
        line_chart("empty", "x", [Line("nothing", [], "new")])
