from __future__ import annotations

from pathlib import Path

import pytest
from exported import save_base


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extended byte-level tokenizer, untied, with padding rows, real words in both languages."""
    return save_base(tmp_path_factory.mktemp("byte"), "gpt2")


@pytest.fixture(scope="session")
def piece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an extended SentencePiece vocabulary."""
    return save_base(tmp_path_factory.mktemp("pieces"), "sentencepiece")
