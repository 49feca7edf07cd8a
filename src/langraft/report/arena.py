"""The page of an arena: ratings with intervals, who beats whom, categories, some battles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from langraft.core.io import write_atomic
from langraft.report.charts import ticks
from langraft.report.templates import fill

WIDTH, LEFT, RIGHT, ROW = 720, 220, 30, 30
SAMPLES = 6
VERDICTS = {"tie": "Voted equally good.", "tie (bothbad)": "Voted both bad."}
ABOUT = {
    "elo": "Elo: every battle moves both ratings by at most 4 points, from 1000. The order of the "
    "votes matters, so the rating is the median over {rounds:,} resamples.",
    "bradley-terry": "Bradley-Terry by maximum likelihood, a tie is half a win for each: 400 "
    "points are odds of 10 to 1, the mean is 1000. Intervals from {rounds:,} resamples.",
    "davidson": "Davidson's model by maximum likelihood, ties have a probability of their own: 400 "
    "points are odds of 10 to 1 in decided battles, the mean is 1000. Intervals from {rounds:,} "
    "resamples.",
}


def write_arena_page(
    ratings: Mapping[str, Any], battles: Sequence[Mapping[str, Any]], fewest: int, out: Path
) -> None:
    """Write the page of an arena.

    Args:
        ratings: what the arena's `rate` returns.
        battles: votes as records in FastChat's layout; some with transcripts are shown.
        fewest: votes that a category needs to be rated.
        out: the HTML file.
    """
    board = ratings["leaderboard"]
    names = [row["model"] for row in board]
    page = fill(
        "arena.html",
        {"share": _share},
        title=_title(board),
        lede=_lede(ratings),
        about=ABOUT[ratings["system"]].format(rounds=ratings["rounds"]),
        board=board,
        names=names,
        intervals=_intervals(board),
        matrices={
            "Ties left out": _cells(ratings["matrix"], "without_ties"),
            "A tie as half a win": _cells(ratings["matrix"], "with_ties"),
        },
        length_bias=_length_bias(ratings["length_bias"]),
        categories=[_category(n, c, names) for n, c in ratings["categories"].items()],
        fewest=fewest,
        battles=_samples(battles),
    )
    write_atomic(out, page)


def _title(board: Sequence[Mapping[str, Any]]) -> str:
    leaders = [row["model"] for row in board if row["rank"] == 1]
    if len(leaders) == 1:
        return f"{leaders[0]} is ahead"
    return f"No winner yet among {len(leaders)} models"


def _lede(ratings: Mapping[str, Any]) -> str:
    left_out = (
        f", {ratings['left_out']:,} with the names in view left out" if ratings["left_out"] else ""
    )
    judges = "one judge"
    if ratings["judges"] > 1:
        busiest = f"the busiest cast {100 * ratings['busiest_judge']:.0f} %"
        judges = f"{ratings['judges']:,} judges ({busiest})"
    return (
        f"{ratings['votes']:,} votes by {judges} on {len(ratings['leaderboard'])} models{left_out}."
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _intervals(board: Sequence[Mapping[str, Any]]) -> Markup:
    """A dot and a whisker a model on one scale."""
    across = ticks(min(row["low"] for row in board) - 1, max(row["high"] for row in board) + 1)
    height = ROW * len(board) + 44

    def x(value: float) -> float:
        share = (value - across[0]) / (across[-1] - across[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    parts = [
        Markup(
            '<line class="grid" x1="{0}" x2="{0}" y1="8" y2="{1}"/>'
            '<text class="tick" x="{0}" y="{2}" text-anchor="middle">{3}</text>'
        ).format(x(value), height - 30, height - 12, f"{value:.0f}")
        for value in across
    ]
    for index, row in enumerate(board):
        y = 8 + ROW * index + ROW / 2
        parts.append(
            Markup(
                '<text x="{0}" y="{1}" text-anchor="end">{2}</text>'
                '<line class="whisker" x1="{3}" x2="{4}" y1="{5}" y2="{5}"/>'
                '<circle cx="{6}" cy="{5}" r="5"><title>{2}: {7}</title></circle>'
            ).format(
                LEFT - 14,
                y + 4.5,
                row["model"] if len(row["model"]) <= 28 else row["model"][:27] + "…",
                x(row["low"]),
                x(row["high"]),
                y,
                x(row["rating"]),
                f"{row['rating']:.0f} ({row['low']:.0f} to {row['high']:.0f})",
            )
        )
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="ratings with intervals" class="interval">'
        "{}</svg>"
    ).format(WIDTH, height, Markup("").join(parts))


def _cells(matrix: Mapping[str, Any], which: str) -> list[list[dict[str, Any]]]:
    return [
        [
            {
                "text": f"{_share(share)} ({battles:.0f})".strip() if battles else "",
                "shade": None if share is None else round(70 * share),
            }
            for share, battles in zip(shares, counts, strict=True)
        ]
        for shares, counts in zip(matrix[which], matrix["battles"], strict=True)
    ]


def _length_bias(bias: Mapping[str, Any] | None) -> str:
    if bias is None:
        return ""
    low, high = 100 * bias["low"], 100 * bias["high"]
    return (
        f"Length: the longer answer won {100 * bias['longer_won']:.1f} % of {bias['battles']:,} "
        f"decided battles (95 % interval {low:.1f} to {high:.1f} %); 50 % would mean that length "
        "does not sway."
    )


def _category(name: str, found: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    rows = {row["model"]: row for row in found["leaderboard"]}
    return {
        "name": name,
        "votes": found["votes"],
        "ratings": [
            f"{rows[n]['rating']:.0f} ± {(rows[n]['high'] - rows[n]['low']) / 2:.0f}"
            if n in rows
            else ""
            for n in names
        ],
    }


def _samples(battles: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A few battles with transcripts, spread evenly over all."""
    whole = [b for b in battles if b["conversation_a"] and b["conversation_b"]]
    chosen = whole[:: max(1, len(whole) // SAMPLES)][:SAMPLES]
    return [
        {
            "prompt": battle["conversation_a"][0]["content"],
            "sides": [
                {
                    "model": battle[f"model_{side}"],
                    "won": battle["winner"] == f"model_{side}",
                    "talk": battle[f"conversation_{side}"][1:],
                }
                for side in "ab"
            ],
            "verdict": VERDICTS.get(battle["winner"], ""),
        }
        for battle in chosen
    ]
