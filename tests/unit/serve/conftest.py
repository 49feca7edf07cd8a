from __future__ import annotations

from pathlib import Path

import pytest
from tiny_llama import TEMPLATE, save_model

from langraft.export.gguf import export_gguf


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a chat template."""
    return save_model(tmp_path_factory.mktemp("models") / "chatty", TEMPLATE)


@pytest.fixture(scope="session")
def merged_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one merge, which llama.cpp cannot do without."""
    return save_model(tmp_path_factory.mktemp("models") / "merged", TEMPLATE, ("q", "q"))


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder without one."""
    return save_model(tmp_path_factory.mktemp("models") / "plain", None, ("q", "q"))


@pytest.fixture(scope="session")
def file(merged_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with a template as GGUF."""
    out = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    export_gguf(merged_model, out, "f32")
    return out


@pytest.fixture(scope="session")
def plain_file(plain_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model without one as GGUF."""
    out = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    export_gguf(plain_model, out, "f32")
    return out
