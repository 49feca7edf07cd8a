"""Bases of both families and their extensions, made once a session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizer_bases import STYLES, Extension, all_bytes_definition, make_extension

from langraft.core.io import write_json


@pytest.fixture(scope="session")
def extensions(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Extension]:
    """The extension of one kind of base, made when it is first asked for."""
    return functools.cache(lambda style: make_extension(tmp_path_factory.mktemp(style), style))


@pytest.fixture(params=STYLES)
def extension(request: pytest.FixtureRequest, extensions: Callable[[str], Extension]) -> Extension:
    """One extension of each kind of base."""
    return extensions(request.param)


@pytest.fixture
def scored(extensions: Callable[[str], Extension]) -> Extension:
    """The extension whose folder holds a `tokenizer.model` with scores too."""
    return extensions("sentencepiece")


@pytest.fixture
def bytes_base(tmp_path: Path) -> Path:
    """A folder with the byte-level base of 256 bytes and no merges."""
    folder = tmp_path / "bytes"
    folder.mkdir()
    write_json(folder / "tokenizer.json", all_bytes_definition())
    return folder
