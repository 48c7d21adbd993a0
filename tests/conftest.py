"""Fixtures for all tests: the shared sample data, the real frames, and a real JupyterLab with a browser (see lab.py)."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lab import BROWSER_FLAGS, Lab, find_browser, opener

# A run in the background, or under nohup, inherits these signals as ignored, and would pass that on to the commands that
# tests start and then interrupt. A handler is not inherited: the run itself still ignores them, a command begins with the default.
for number in signal.SIGINT, signal.SIGHUP, signal.SIGTERM:
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# The same examples in every run, whatever the machine; `pytest --hypothesis-profile=explore` looks for others.
with suppress(ImportError):  # the tests of the wheel run without it
    import hypothesis

    hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
    hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
    hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a browser are slow, and come last: Playwright's event loop would be in the way of a test that starts its own."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


# --- sample data ---------------------------------------------------------------------------------


class Shared(NamedTuple):
    """Sample data that all tests share and none may change: `copy` it first."""

    archives: Path
    extracted: Path
    planted: tuple[Any, ...] = ()

    def copy(self, folder: Path) -> Path:
        """Copy the extracted data set into the new `folder`; no file is shared, so the copy may be changed in any way."""
        return Path(shutil.copytree(self.extracted, folder))


def state(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """What a change of any file or folder below `folder` would change."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            told = entry.stat(follow_symlinks=False)
            found[entry.path] = told.st_mode, told.st_size, told.st_mtime_ns, told.st_ino, told.st_nlink
            if entry.is_dir(follow_symlinks=False):
                found |= state(entry.path)
    return found


_shared: dict[Path, dict[str, tuple[int, ...]]] = {}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Shared]:
    """`shared(videos=3, ...)`: sample data, drawn once per run for the same arguments (those of `make_archives`)."""
    # here, since the tests of the wheel run without the library's requirements
    from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
    from nsw_da_medical_image.dataset_util.sample import make_archives

    made: dict[str, Shared] = {}

    def draw(videos: int = 3, frames: int | None = 24, size: int = 64, quirks: tuple[str, ...] = ()) -> Shared:
        key = repr((videos, frames, size, quirks))
        if key not in made:
            folder = tmp_path_factory.mktemp("shared")
            planted = make_archives(folder / "archives", videos, frames, size=size, quirks=quirks).planted
            extract_dataset(folder / "archives", folder / "extracted")
            made[key] = Shared(folder / "archives", folder / "extracted", planted)
            _shared[folder] = state(folder)
        return made[key]

    return draw


@pytest.fixture(autouse=True)
def untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that changed the shared sample data, and not the ones that meet the change later."""
    yield
    if "shared" not in request.fixturenames:
        return
    for folder, before in _shared.items():
        if (after := state(folder)) != before:
            _shared[folder] = after
            changed = sorted({path for path, _ in before.items() ^ after.items()})
            pytest.fail(f"this test changed the shared sample data, of which it should take a copy: {changed[:5]}")


# --- real frames ---------------------------------------------------------------------------------


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
    context.set_default_timeout(180_000)  # only ends what has failed; a busy machine is slow
    yield opener(lab, context)
    context.close()
    for session in lab.request("GET", "api/sessions"):
        lab.request("DELETE", f"api/sessions/{session['id']}")
