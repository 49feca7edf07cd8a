"""What the tests of the corpus share."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from langraft.core.io import open_binary


@pytest.fixture(scope="session")
def benchmarks(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmarks of the material, unpacked."""
    folder = tmp_path_factory.mktemp("benchmarks")
    packed = (material / "benchmarks" / "benchmarks_dev.tar.zst").read_bytes()
    with zstandard.ZstdDecompressor().stream_reader(packed) as stream:
        unpacked = io.BytesIO(stream.read())
    with tarfile.open(fileobj=unpacked) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def texts_of(material: Path) -> Callable[..., list[str]]:
    """The first texts of a corpus of the material."""

    def read(name: str, most: int | None = None) -> list[str]:
        with open_binary(material / "corpora" / f"{name}.jsonl.zst") as stream:
            return [json.loads(line)["text"] for line in itertools.islice(stream, most)]

    return read
