"""Results on disk, one line a question, from the moment it is scored; what is there is not scored
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import disk_errors, read_json, write_json

CARD = "card.json"
LINES = "questions"


class Ledger:
    """The results of one evaluation in a folder, written by one or several ranks.

    Args:
        folder: made when it is absent.
        card: what decides the results; a folder that holds another card's is refused.
        rank: each rank appends to a file of its own.

    Raises:
        BadInput: the folder belongs to another evaluation.
    """

    def __init__(self, folder: Path, card: Mapping[str, Any], rank: int = 0) -> None:
        self.folder = folder
        self._file = folder / f"{LINES}-{rank}.jsonl"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if (folder / CARD).exists():
            _same_card(folder, card)
        elif rank == 0:
            write_json(folder / CARD, card)
        _mend(self._file)

    def add(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Append results and hand them to the operating system at once."""
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in results)
        with disk_errors(self._file), self._file.open("a", encoding="utf-8") as stream:
            stream.write(text)

    def results(self) -> dict[str, dict[str, Any]]:
        """Every result so far, of all ranks, by question."""
        return {r["id"]: r for r in read_results(self.folder)}


def read_results(folder: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a folder of results."""
    for path in sorted(folder.glob(f"{LINES}-*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            try:
                found = json.loads(line)
            except json.JSONDecodeError:  # empty, or what a kill cut short
                continue
            yield found


def _mend(path: Path) -> None:
    """End a last line that a kill cut short, so that the next one starts afresh."""
    if path.exists():
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            with disk_errors(path), path.open("ab") as stream:
                stream.write(b"\n")


def _same_card(folder: Path, card: Mapping[str, Any]) -> None:
    found = read_json(folder / CARD)
    different = sorted(k for k in {*found, *card} if found.get(k) != card.get(k))
    if different:
        key = different[0]
        raise BadInput(
            f"{folder}: holds results of another evaluation ({key}: {found.get(key)!r} there, "
            f"{card.get(key)!r} here); choose another --out, or remove that folder"
        )
