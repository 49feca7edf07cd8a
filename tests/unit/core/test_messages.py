"""What goes to the terminal, and that it goes to stderr."""

from __future__ import annotations

import pytest
from rich.console import Console

from langraft.core import messages


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    recording = Console(record=True, width=100, stderr=True)
    monkeypatch.setattr(messages, "console", recording)
    return recording


def test_nothing_goes_to_stdout(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    messages.say("[bold]done[/bold]")
    messages.warn("slow")
    assert list(messages.track([1, 2, 3], "read", 3, unit="files")) == [1, 2, 3]
    assert capsys.readouterr().out == ""
    text = console.export_text()
    assert "done\nwarning: slow\n" in text
    assert "read" in text
    assert "3/3 files" in text


def test_table(console: Console) -> None:
    console.print(messages.table("Bits", ["source", "base"], [["zh", 1.5], ["en", 12]]))
    lines = [line for line in console.export_text().splitlines() if "│" in line]
    assert [cell.strip() for cell in lines[0].strip("│").split("│")] == ["zh", "1.5"]
    assert lines[1].endswith("   12 │")
