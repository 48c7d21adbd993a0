"""Fixtures for all tests: the real frames, and a real JupyterLab with a browser (see lab.py)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import BROWSER_FLAGS, Lab, find_browser, opener


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a browser come last: Playwright's event loop would be in the way of a test that starts its own."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real frames, which no copy of this repository may hold."""
    folder = os.environ.get("NSW_REAL_DATA")
    if not folder:
        pytest.skip("NSW_REAL_DATA names no folder with real frames")
    return Path(folder)


def no_browser(reason: str) -> None:
    """Skip, or fail where the environment promises a browser."""
    if os.environ.get("NSW_REQUIRE_BROWSER") == "1":
        pytest.fail(f"NSW_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium that Playwright drives."""
    path = find_browser()
    if path is None:
        no_browser("there is no Chromium or Chrome on PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        no_browser("playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab server for all tests; only where there is a browser to look at it."""
    server = Lab(tmp_path_factory.mktemp("lab")).wait()
    yield server
    server.stop()


@pytest.fixture
def open_notebook(lab: Lab, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a notebook in JupyterLab and returns its page: see `open_notebook` in lab.py."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield opener(lab, context)
    context.close()
    for session in lab.request("GET", "api/sessions"):
        lab.request("DELETE", f"api/sessions/{session['id']}")
