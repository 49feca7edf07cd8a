"""A headless Chromium of the machine, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
# In a container there is no sandbox, and a browser under test looks nothing up elsewhere.
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


# Not for the session: Playwright cannot be started twice at the same time, and other tests may.
@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    """The browser, one for a file of tests; skips where the machine has none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: playwright.Browser) -> Iterator[playwright.BrowserContext]:
    """One person's browser: cookies of its own; an error on a page fails the test."""
    context = chromium.new_context(viewport={"width": 1180, "height": 860})
    context.set_default_timeout(15_000)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    assert errors == []
