"""A finished run of the whole recipe on a tiny model, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_run import build_small, run


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A folder with a tiny English model and a slice of the quickstart texts."""
    folder = tmp_path_factory.mktemp("small")
    build_small(folder, root)
    return folder


@pytest.fixture(scope="session")
def done(small: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "done"
    result = run(small, root, out, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["model"] == str(out / "pretrain-adapt")
    return out
