"""The notebook, run from its first cell to its last on a tiny base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from small_run import results

from langraft.recipe import load_recipe

SETTINGS = [
    "graft.distil={positions: 1500, depth: 1, steps: 6, output_positions: 1500, output_steps: 10, "
    "old_positions: 0}",
    "hardware.threads=1",
]


def test_it_runs_whole(
    small: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    for name in ("zh", "en"):
        shutil.copy(small / f"{name}.jsonl", tmp_path / "data")
    for name, value in (
        ("LANGRAFT_BASE", small / "base"),
        ("LANGRAFT_DATA", tmp_path / "data"),
        ("LANGRAFT_OUT", tmp_path / "out"),
        ("LANGRAFT_SETTINGS", json.dumps(SETTINGS)),
        ("PYTHONPATH", root / "src"),
    ):
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(root / "notebooks/quickstart.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # none of somebody's machine
    place = {"metadata": {"path": str(root / "notebooks")}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=place).execute()
    said = "\n".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    bits = results(tmp_path / "out/run", "eval")["bits"]
    assert f"zh: {bits['base']['zh']:.3f} -> {bits['adapted']['zh']:.3f} bits per byte" in said
    assert "langraft works" in said and "whole run:" in said and "license: unknown" in said
    recipe = load_recipe(tmp_path / "out/zh-try.yaml")
    trained = results(tmp_path / "out/run", "pretrain-knowledge")
    assert trained["tokens"] == recipe.pretrain[0].tokens
