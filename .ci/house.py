"""The picture of the house: floors and rooms from the import-linter contracts in pyproject.toml,
and what a room is for from the first words of its own docstring.
"""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
WIDTH, EDGE, ROOM, GAP, LABEL = 1000, 12, 92, 12, 74
CHARACTER = 6.6  # width of one at 12.5 px, about
STYLE = """
text { font: 12.5px system-ui, "Segoe UI", Roboto, sans-serif; fill: #5b6663; }
.name { font-weight: 650; font-size: 15px; fill: #1d2422; }
.floor { fill: #f1efe9; } .room { fill: #fff; stroke: #0f766e; stroke-width: 1.4; }
.plain .room { stroke: #c2571a; }
@media (prefers-color-scheme: dark) {
  text { fill: #9aa6a2; } .name { fill: #e8ece9; } .floor { fill: #1a201e; }
  .room { fill: #121615; stroke: #3fbfae; } .plain .room { stroke: #f0935a; }
}"""


def floors() -> tuple[list[list[str]], set[str]]:
    """The rooms of every floor, the highest first, and the rooms that never import torch."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = contracts["tool"]["importlinter"]["contracts"]
    layers = next(c for c in contracts if c["type"] == "layers")["layers"]
    plain = next(c for c in contracts if c["type"] == "forbidden")["source_modules"]
    rooms = [[name.rpartition(".")[2] for name in re.split(r" [|:] ", row)] for row in layers]
    return rooms, {name.rpartition(".")[2] for name in plain}


def purpose(room: str) -> str:
    """The first words of the room's docstring, up to its first full stop or colon's end."""
    path = ROOT / "src/langraft" / room / "__init__.py"
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[a-z])\. ", " ".join(told.split()))[0].rstrip(".")


def house() -> str:
    """The drawing, as SVG."""
    rows, plain = floors()
    parts = []
    for number, rooms in enumerate(rows):
        top = EDGE + number * (ROOM + 2 * GAP)
        parts.append(
            f'<rect class="floor" x="{EDGE}" y="{top}" width="{WIDTH - 2 * EDGE}" '
            f'height="{ROOM + GAP}" rx="10"/>'
            f'<text x="{EDGE + 14}" y="{top + 56}">floor {len(rows) - 1 - number}</text>'
        )
        wide = (WIDTH - 2 * EDGE - LABEL - GAP * len(rooms)) / len(rooms)
        for place, room in enumerate(rooms):
            left = EDGE + LABEL + place * (wide + GAP)
            parts.append(_room(room, left, top + GAP / 2, wide, room in plain))
    height = EDGE + len(rows) * (ROOM + 2 * GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="The rooms of langraft by floor"><style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _room(room: str, left: float, top: float, wide: float, plain: bool) -> str:
    words = textwrap.wrap(purpose(room), int((wide - 24) / CHARACTER))
    if len(words) > 4:
        words = [*words[:3], f"{words[3].rstrip(',:;')} …"]
    lines = "".join(
        f'<text x="{left + 12:.0f}" y="{top + 40 + 15 * n:.0f}">{escape(line)}</text>'
        for n, line in enumerate(words)
    )
    return (
        f'<g class="{"plain" if plain else ""}"><rect class="room" x="{left:.0f}" y="{top:.0f}" '
        f'width="{wide:.0f}" height="{ROOM}" rx="8"/>'
        f'<text class="name" x="{left + 12:.0f}" y="{top + 22:.0f}">{room}</text>{lines}</g>'
    )
