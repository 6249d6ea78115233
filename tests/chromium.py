"""The system's Chromium, for tests of pages: what only a layout engine can tell. The fixture `browser` starts it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Chromium is not to phone home while the tests run.
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-default-apps", "--no-first-run", "--disable-dev-shm-usage"),
)


def in_browser(test: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a test that needs Chromium; it is skipped where there is none."""
    reason = "no Chromium on this machine (Debian: apt install chromium)"
    return pytest.mark.browser(pytest.mark.skipif(CHROMIUM is None, reason=reason)(test))


def started() -> Iterator[Any]:
    """Starts Chromium, and ends it."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


def opened(browser: Any, path: Path, width: int, scheme: str = "light") -> Any:
    """Opens a page; `said` are the lines of its console and its errors, `fetched` what it asked for."""
    page = listened(browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme))
    page.goto(path.as_uri())
    return page


def listened(page: Any) -> Any:
    """Collects what a page says and fetches."""
    page.said, page.fetched = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.fetched.append(request.url))
    return page
