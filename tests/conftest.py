"""Fixtures for all tests: shared sample data, real frames, and a real JupyterLab in a browser (see lab.py)."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lab import BROWSER_FLAGS, Lab, Stage, find_browser, opener, run_all

# In the background or under nohup, pytest inherits these signals as ignored, and the commands that tests interrupt would
# inherit this from pytest. A handler is not inherited: pytest still ignores the signals, but the commands do not.
for number in signal.SIGINT, signal.SIGHUP, signal.SIGTERM:
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# The same examples every time and on every machine; `pytest --hypothesis-profile=explore` tries others.
with suppress(ImportError):  # the tests of the wheel run without it
    import hypothesis

    hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
    hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
    hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests in a browser as slow, and run them last: Playwright's event loop disturbs tests that start their own."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


# --- sample data ---------------------------------------------------------------------------------


class Shared(NamedTuple):
    """Sample data that all tests share. Do not change it; change a `copy`."""

    archives: Path
    extracted: Path
    planted: tuple[Any, ...] = ()

    def copy(self, folder: Path) -> Path:
        """Copy the extracted data set to the new `folder`, and return the folder; the copy may be changed in any way."""
        return Path(shutil.copytree(self.extracted, folder))


def state(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """Return kind, size, time and number of each file and folder below `folder`: any change of them changes this."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            facts = entry.stat(follow_symlinks=False)
            found[entry.path] = facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_nlink
            if entry.is_dir(follow_symlinks=False):
                found |= state(entry.path)
    return found


_shared: dict[Path, dict[str, tuple[int, ...]]] = {}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Shared]:
    """Return `shared(videos=3, ...)`, which returns sample data, drawn once per session for the same arguments.

    The arguments are those of `make_archives`.
    """
    # imported here: the tests of the wheel run without the library's requirements
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
    """Fail the test that changed the shared sample data, not the tests after it."""
    yield
    if "shared" not in request.fixturenames:
        return
    for folder, before in _shared.items():
        if (after := state(folder)) != before:
            _shared[folder] = after
            changed = sorted({path for path, _ in before.items() ^ after.items()})
            pytest.fail(f"this test changed the shared sample data; use shared().copy(folder) instead: {changed[:5]}")


# --- real frames ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with real frames, which must not be inside the repository; skip the test if there is none."""
    folder = os.environ.get("NSW_REAL_DATA")
    if not folder:
        pytest.skip("set NSW_REAL_DATA to a folder with real frames")
    return Path(folder)


def no_browser(reason: str) -> None:
    """Skip the test, or fail it if NSW_REQUIRE_BROWSER is 1."""
    if os.environ.get("NSW_REQUIRE_BROWSER") == "1":
        pytest.fail(f"NSW_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Yield a headless Chromium, controlled by Playwright; skip the test if there is none."""
    path = find_browser()
    if path is None:
        no_browser("Chromium or Chrome was not found on PATH")
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
    """Yield one JupyterLab server for all tests in a browser."""
    server = Lab(tmp_path_factory.mktemp("lab")).wait()
    yield server
    server.stop()


@pytest.fixture
def open_notebook(lab: Lab, browser: Any) -> Iterator[Callable[..., Any]]:
    """Yield a function that opens a notebook in JupyterLab and returns its page: see `open_notebook` in lab.py."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(180_000)  # long, because a busy machine is slow
    yield opener(lab, context)
    context.close()
    for session in lab.request("GET", "api/sessions"):
        if session["path"].startswith("nb-"):
            lab.request("DELETE", f"api/sessions/{session['id']}")


SUBSHELLS = "perCommTarget"  # JupyterLab's default


@pytest.fixture(scope="session")
def stages(lab: Lab, browser: Any) -> Iterator[dict[str, Stage]]:
    """Yield the notebooks that tests share, by the setting of JupyterLab that sends the messages of widgets to subshells."""
    stages: dict[str, Stage] = {}
    yield stages
    for stage in stages.values():
        stage.close()


@pytest.fixture
def run_cells(request: pytest.FixtureRequest, lab: Lab, browser: Any, stages: dict[str, Stage]) -> Iterator[Any]:
    """Yield a function that shows cells in a notebook that tests share, runs them, and returns the page: see `Stage` in lab.py."""
    used: list[Stage] = []

    def run_cells(
        *sources: str, run: bool = True, dark: bool = False, again: bool = False, subshells: str = SUBSHELLS
    ) -> Any:
        if subshells not in stages:
            stages[subshells] = Stage(lab, browser)
        lab.set("apputils-extension", "kernels-settings", {"commsOverSubshells": subshells})
        used.append(stages[subshells])
        page = stages[subshells].show(sources, dark, again)
        if run and not stages[subshells].ran:
            ran = run_all(page)
            assert ran, ran.error
        return page

    failed = request.session.testsfailed
    yield run_cells
    for stage in used:
        if request.session.testsfailed == failed:
            stage.leave()
        else:
            stage.close()
