"""What every test may use: the folder of real test material, and the option that makes its absence,
or a missing package's, a failure.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# `make test` tries the same examples every time, so that a red run is the change's own doing;
# `pytest --hypothesis-profile=explore` draws new ones, and more of them.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = ROOT.parent / "shared" / "material"
# Reasons of skips for want of what `make setup` installs or lies beside the checkout. A machine may
# lack a GPU or a browser.
AVOIDABLE = ("material", "could not import", "not installed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-material",
        action="store_true",
        help="fail, instead of skipping, where a test cannot find its material or a package",
    )


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def material() -> Path:
    """The folder of real text and tokenizers beside the checkout; skips the test without it."""
    if not MATERIAL.is_dir():
        pytest.skip("no test material: ../shared/material is not beside the checkout")
    return MATERIAL


def _forbidden_skip(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skip that `--require-material` does not accept, or nothing."""
    if (
        not config.getoption("--require-material")
        or not report.skipped
        or hasattr(report, "wasxfail")
    ):
        return ""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason if any(part in reason for part in AVOIDABLE) else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if reason := _forbidden_skip(item.config, report):
        report.outcome, report.longrepr = "failed", f"--require-material: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if reason := _forbidden_skip(collector.config, report):
        report.outcome, report.longrepr = "failed", f"--require-material: {reason}"
    return report
