"""The report in a browser: no sideways scrolling, dark where asked, whole on paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sample_run import build_run

from langraft.report import write_report


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build_run(tmp_path_factory.mktemp("run") / "quickstart-zh"))


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window(chromium: Any, page_file: Path, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


def test_it_is_dark_in_the_dark(chromium: Any, page_file: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = chromium.new_page(color_scheme=scheme)
        page.goto(page_file.as_uri())
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(map(int, re.findall(r"\d+", paper)))
        page.close()
    assert shades["light"] > 700 and shades["dark"] < 100


def test_paper_shows_what_a_click_would_open(
    chromium: Any, page_file: Path, tmp_path: Path
) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine (Debian: apt install poppler-utils)")
    page = chromium.new_page()
    page.goto(page_file.as_uri())
    page.pdf(path=tmp_path / "page.pdf", print_background=True)
    page.close()
    command = ["pdftotext", "-layout", str(tmp_path / "page.pdf"), "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Teaching smollm2-135m Chinese" in text
    assert "cd" * 30 in text.replace("\n", "").replace(" ", "")  # a hash, from closed details
