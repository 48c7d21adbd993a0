"""Test the script `python explore.py data/extracted`: the page in a browser, and what it refuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import Shared, no_browser

from nsw_da_medical_image.common.findings import FINDING_COLUMNS
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset

ROOT = Path(__file__).parent.parent
EXPLORER = ".embryo-explorer"


@pytest.fixture(scope="module")
def data(shared: Callable[..., Shared]) -> Path:
    return shared(videos=6, frames=48).extracted


def script(*args: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "explore.py", *map(str, args), "--no-open"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


@contextmanager
def page_of(*args: object, home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the running script and the address that it prints; end it as Ctrl-C does."""
    if find_spec("voila") is None:
        no_browser("voila is not installed")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    command = [sys.executable, ROOT / "explore.py", *map(str, args), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as done:
        try:
            line = done.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\w+", line)
            assert found, line
            yield done, found[0]
        finally:
            if done.poll() is None:
                done.send_signal(signal.SIGINT)
            done.wait(30)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Yield `visit(address, dark=False)`, which returns the page once the explorer is ready; `page.requests` are its requests."""
    contexts = []

    def start(address: str, *, dark: bool = False, size: tuple[int, int] = (1366, 700)) -> Any:
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.requests, page.problems = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(address, wait_until="domcontentloaded")
        page.locator(f"{EXPLORER}[data-ready=true]").wait_for()
        return page

    yield start
    for context in contexts:
        context.close()


def grave(page: Any) -> list[str]:
    """Return what axe finds that is serious in the whole page."""
    page.add_script_tag(
        content=(Path(__file__).parent / "assets" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    )
    found = page.evaluate("async () => (await axe.run(document, {iframes: false})).violations")
    return [
        f"{each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def wait_for_file(path: Path, ending: str) -> None:
    """Return when a file ends with a text."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith(ending)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refused(address: str) -> bool:
    """Return whether an address leads to the page that asks for the token, or to an error."""
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return "/login?" in answer.url
    except urllib.error.HTTPError as error:
        return error.code in (401, 403, 404)


@pytest.mark.browser
def test_the_page_from_start_to_end(visit: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    ds = EmbryoDataset(data)
    chosen = list(ds.videos[:-1])
    reached = [name for name in chosen if "tB" in set(ds[name].phases.phase)]
    notes = tmp_path / "notes"
    finding = ["run-gap", "warning", reached[-1], "F0", "3-5", "3 runs", ""]
    (tmp_path / "report.json").write_text(json.dumps({"findings": [dict(zip(FINDING_COLUMNS, finding, strict=True))]}))
    options = ["--report", tmp_path / "report.json", "--annotations", notes, "--videos", *chosen]
    with page_of(data, *options, home=tmp_path) as (running, address):
        page = visit(address)
        assert page.title() == "Embryo videos"
        assert page.locator(EXPLORER).get_attribute("data-shown") == str(len(chosen))
        page.get_by_label("Finding", exact=True).select_option("run-gap")
        page.locator(f"{EXPLORER}[data-shown='1']").wait_for()
        assert page.locator(f"{EXPLORER} [role=row][data-video]").get_attribute("data-video") == reached[-1]
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("Filter videos").fill("tB")
        page.locator(f"{EXPLORER}[data-shown='{len(reached)}']").wait_for()
        page.locator(f"{EXPLORER} [role=row][data-video='{reached[0]}']").click()
        player = page.locator(f"{EXPLORER} .embryo-player[data-video='{reached[0]}'][data-exact=true]")
        player.wait_for()
        page.get_by_role("button", name="Play", exact=True).click()
        page.wait_for_function("() => Number(document.querySelector('.embryo-player').dataset.run) > 5")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="First frame").click()
        player.and_(page.locator("[data-run='1'][data-exact=true]")).wait_for()
        page.get_by_role("button", name="Begins here").click()  # annotate: the phase that is picked
        page.get_by_text("saved in notes").wait_for()
        page.get_by_role("button", name="Bookmark this frame").click()
        comment = page.get_by_label("Comment on run 1", exact=True)
        comment.fill("first")
        comment.press("Enter")
        with page.expect_download() as waiting:  # at once
            page.get_by_role("button", name="Download bookmarks").click()
        assert Path(waiting.value.path()).read_text().splitlines()[1].endswith(",first")
        page.locator(".ee-status", has_text="Saved in").wait_for()
        for dark in False, True:
            page.emulate_media(color_scheme="dark" if dark else "light")
            assert grave(page) == []
            background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark
        away = [
            url
            for url in page.requests
            if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
        ]
        assert away == []
        assert page.problems == []
        told = page.locator("body").inner_text().lower()  # people who have never seen a notebook read this
        assert not [word for word in ("kernel", "notebook", "widget", "python") if word in told]
        wait_for_file(notes / f"{reached[0]}_bookmarks.csv", ",first\n")
        port = int(re.search(r":(\d+)/", address)[1])
        # only with the token, and only on the loopback address
        assert all(refused(f"http://127.0.0.1:{port}/{path}") for path in ("", "api/kernels", "api/contents"))
        for other in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1", "::1"}:
            with pytest.raises(ConnectionRefusedError), socket.create_connection((other, port), timeout=5):
                pass
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
        assert running.stdout.read().splitlines()[-1] == "The page has ended."
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    comments = [file.read_text().splitlines()[1] for file in notes.glob("*_bookmarks.csv")]
    assert len(comments) == 1
    assert comments[0].endswith(",first")
    assert (notes / f"{reached[0]}_phases.csv").read_text() == "tPB2,1,48\n"


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (["{tmp}/nowhere"], 1, "nowhere"),
        (["{data}", "--videos", "SAM1-3"], 1, "has no video 'SAM1-3'; nearest: SAM1-"),
        (["{data}", "--report", "{tmp}/none.json"], 1, "none.json"),
        (["{data}", "--report", "{data}/embryo_dataset_grades.csv"], 1, "is not a report of validate as JSON or CSV"),
        (["{data}", "--annotations", "{data}/mine"], 1, "mine"),
        (["{data}", "--port", "0"], 2, "--port is 0; it must be 1 or more"),
    ],
)
def test_errors_are_one_line(data: Path, tmp_path: Path, args: list[str], status: int, why: str) -> None:
    done = script(*(arg.format(tmp=tmp_path, data=data) for arg in args))
    assert done.returncode == status
    assert why in done.stderr.splitlines()[-1]
    assert done.stderr.count("\n") == 1 or status == 2
    assert done.stdout == ""


def test_the_extra_that_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['voila'] = None\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, ROOT / "explore.py", data, "--no-open"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: this page needs the extra app: pip install 'nsw_da_medical_image[app]'\n"
