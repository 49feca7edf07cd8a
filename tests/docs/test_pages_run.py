"""The blocks of the pages are run, page by page, on a tiny model: the first pages in `make test`,
all others with the slow tests.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from docs_blocks import PAGES, blocks_of
from docs_sandbox import Sandbox, build_sandbox

FIRST = ["docs/quickstart.md", "docs/tutorial.md"]
# Pages that use what the quickstart leaves behind, and have commands of ours that can be run.
AFTER_QUICKSTART = [
    page
    for page in PAGES
    if page not in FIRST
    and any(
        block.is_shell and "not run" not in block.notes and "langraft " in block.text
        for block in blocks_of(page)
    )
]


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sandbox(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def after(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has done the quickstart."""
    folder = tmp_path_factory.mktemp("after") / "reader"
    shutil.copytree(master, folder, symlinks=True)
    run_page("docs/index.md", folder)
    for stage, name in (("corpus", "corpus"), ("tokenizer", "extended")):
        shutil.copytree(folder / "runs/quickstart-zh" / stage, folder / name)
    return folder


def run_page(page: str, folder: Path) -> Sandbox:
    reader = Sandbox(folder)
    for block in blocks_of(page):
        if (block.is_shell or "file" in block.notes) and "not run" not in block.notes:
            reader.run_block(block)
    return reader


@pytest.mark.parametrize("page", FIRST)
def test_first_pages(page: str, master: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(master, folder, symlinks=True)
    reader = run_page(page, folder)
    assert len(reader.ran) >= 3
    assert list(folder.glob("runs/*/report.html"))


@pytest.mark.slow  # some eighty commands, each on a model of its own: two minutes
@pytest.mark.parametrize("page", AFTER_QUICKSTART)
def test_every_other_page(page: str, after: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(after, folder, symlinks=True)
    assert run_page(page, folder).ran
