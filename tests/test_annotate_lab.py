"""Test annotating in a real JupyterLab and in a page without a kernel: keys and mouse, undo, reloads, killed kernels, conflicts."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Shared
from lab import kernel, page_errors, run_all, screenshot, wait_idle

from nsw_da_medical_image.dataset_util.annotate import Annotation
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.player import EmbryoPlayer

HERE = Path(__file__).parent
PLAYER = ".embryo-player"
SETUP = """
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.player import EmbryoPlayer
ds = EmbryoDataset({data!r})
v = ds[ds.videos[0]]
folder = {folder!r}
"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def data(shared: Callable[..., Shared]) -> Path:
    return shared(videos=2, frames=60, size=100).extracted


@pytest.fixture
def lab_page(run_cells: Callable[..., Any], tmp_path: Path, data: Path) -> Callable[..., Any]:
    """Return `lab_page(cells...)`, which runs cells and returns the page; annotations are in `tmp_path / "ann"`."""

    def start(*sources: str, **options: Any) -> Any:
        page = run_cells(SETUP.format(data=str(data), folder=str(tmp_path / "ann")), *sources, **options)
        settle(page)
        return page

    return start


def settle(page: Any, player: str = PLAYER) -> None:
    page.locator(f"{player}[data-exact=true]").first.wait_for(timeout=180_000)


def rest(page: Any, element: Any) -> None:
    """Return when an element has stopped moving; the picture grows a moment after a box above it closes."""
    before = None
    while (box := element.bounding_box()) != before:
        before = box
        page.wait_for_timeout(200)


def saved(page: Any, state: str = "saved") -> None:
    """Return when the kernel has answered."""
    page.locator(f"{PLAYER}[data-annotation={state}]").first.wait_for(timeout=180_000)


def seek(page: Any, run: int) -> None:
    page.get_by_label("Seek").first.fill(str(run))
    page.locator(f"{PLAYER}[data-run='{run}'][data-exact=true]").first.wait_for(timeout=180_000)


def pick(page: Any, phase: str) -> Any:
    return page.locator(f"{PLAYER} button[data-phase='{phase}']").first


def drag(page: Any, phase: str, run: int, last: int = 60) -> None:
    """Drag the edge of the own band to a run."""
    page.locator(".ep-own").scroll_into_view_if_needed()
    edge = page.locator(f"[data-edge='{phase}']").bounding_box()
    band = page.locator(".ep-own").bounding_box()
    page.mouse.move(edge["x"] + edge["width"] / 2, edge["y"] + edge["height"] / 2)
    page.mouse.down()
    target = band["x"] + band["width"] * (run - 1) / (last - 1)
    for x in (edge["x"] + 9, (edge["x"] + target) / 2, target):
        page.mouse.move(x, band["y"] + band["height"] / 2)
    page.mouse.up()


class Story:
    """What a reader does with keys and mouse, and what the file contains after each change."""

    def __init__(self, page: Any, content: Callable[[], bytes]):
        self.page, self.content = page, content
        self.states: list[bytes] = [b""]

    def expect(self, text: str) -> None:
        """Assert that the file has these lines, each ending before the next begins."""
        onsets = [line.split() for line in text.split(", ")] if text else []
        ends = [int(run) - 1 for _, run in onsets[1:]] + [60]
        expected = "".join(f"{phase},{run},{end}\n" for (phase, run), end in zip(onsets, ends, strict=True))
        self.wait(expected.encode())
        self.states.append(expected.encode())

    def wait(self, expected: bytes) -> None:
        for _ in range(600):
            if (found := self.content()) == expected:
                return
            self.page.wait_for_timeout(50)
        assert found == expected

    def mark(self) -> None:
        """Mark phases with keys, with the buttons, and by dragging."""
        page = self.page
        seek(page, 12)
        pick(page, "t2").click()
        page.keyboard.press("Enter")
        self.expect("t2 12")
        page.keyboard.press("ArrowRight")  # the focus is in the player, and t3 is picked
        page.keyboard.press("ArrowRight")
        page.locator(f"{PLAYER}[data-run='14'][data-exact=true]").first.wait_for()
        page.keyboard.press("Enter")
        self.expect("t2 12, t3 14")
        seek(page, 30)
        pick(page, "t8").focus()
        page.keyboard.press("Enter")
        self.expect("t2 12, t3 14, t8 30")
        drag(page, "t3", 20)
        self.expect("t2 12, t3 20, t8 30")
        seek(page, 25)
        pick(page, "tB").click()
        page.get_by_role("button", name="Begins here").click()
        self.expect("t2 12, t3 20, tB 25, t8 30")
        assert page.locator(".ep-order").inner_text() == "order: t8 begins at RUN 30, after tB (RUN 25)"
        pick(page, "t8").click()
        page.keyboard.press("Delete")
        self.expect("t2 12, t3 20, tB 25")
        seek(page, 20)
        pick(page, "t4").click()
        page.keyboard.press("Enter")  # t4 replaces t3, which began there
        self.expect("t2 12, t4 20, tB 25")
        assert not page.locator(".ep-order").is_visible()

    def undo(self, place: int, times: int, button: bool = False) -> int:
        for _ in range(times):
            if button:
                self.page.get_by_role("button", name="Undo").click()
            else:
                self.page.locator(PLAYER).press("Control+z")
            place -= 1
            self.wait(self.states[place])
        return place

    def redo(self, place: int, times: int) -> int:
        for n in range(times):
            if n % 2:
                self.page.locator(PLAYER).press("Control+y")
            else:
                self.page.get_by_role("button", name="Redo").click()
            place += 1
            self.wait(self.states[place])
        return place


def own_state(page: Any) -> str:
    """Return the onsets as the list shows them."""
    rows = page.evaluate("() => [...document.querySelectorAll('.ep-annotate .ep-phase')].map((row) => row.ariaLabel)")
    marked = (row for row in rows if "not marked" not in row)
    return "; ".join(f"{row.split()[0]} {re.search('run [0-9]+', row)[0]}" for row in marked)


def test_marking_undoing_reloading_and_a_killed_kernel(
    lab_page: Callable[..., Any], tmp_path: Path, data: Path
) -> None:
    cell = "player = EmbryoPlayer(v, annotations=folder, reader='Ann')\nplayer"
    page = lab_page(cell, "import os; print(os.getpid())")
    video = EmbryoDataset(data).videos[0]
    path = tmp_path / "ann" / f"{video}_phases.csv"
    story = Story(page, lambda: path.read_bytes() if path.exists() else b"")
    story.mark()
    saved(page)
    end = len(story.states) - 1
    place = story.undo(end, 2)

    page.evaluate("async () => await window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    wait_idle(page)
    settle(page)
    assert own_state(page) == "t2 run 12; t3 run 20; tB run 25; t8 run 30".replace(
        "tB run 25; t8 run 30", "t8 run 30; tB run 25"
    )
    place = story.undo(place, 2, button=True)

    code = "import json; print(json.dumps(player.events.values.tolist()))"
    events = json.loads(kernel(page, code))
    assert [(phase, run) for phase, run, _ in events] == [("t2", 12), ("t3", 14), ("t8", 30)]

    kill_kernel(page)
    ran = run_all(page)
    assert ran, ran.error
    settle(page)
    assert own_state(page) == "t2 run 12; t3 run 14; t8 run 30"
    place = story.undo(place, place)
    assert (place, path.read_bytes()) == (0, b"")
    assert page.get_by_role("button", name="Undo").is_disabled()
    story.redo(place, end)
    assert page.get_by_role("button", name="Redo").is_disabled()
    assert path.read_bytes() == b"t2,12,19\nt4,20,24\ntB,25,60\n"
    record = json.loads(path.with_suffix(".json").read_bytes())
    assert record["reader"] == "Ann"
    assert len(record["changes"]) == 3 * end
    assert page_errors(page) == []


def kill_kernel(page: Any) -> None:
    """Kill the kernel of the notebook, and return when JupyterLab has started another one."""
    os.kill(int(kernel(page, "import os; print(os.getpid())")), signal.SIGKILL)
    page.get_by_role("dialog").get_by_role("button", name="Ok").click(timeout=180_000)
    wait_idle(page)


def test_two_players_on_one_folder_ask(lab_page: Callable[..., Any], tmp_path: Path, data: Path) -> None:
    ann = "EmbryoPlayer(v, annotations=folder, reader='Ann')"
    page = lab_page(ann, ann.replace("Ann", "Bob"))
    path = tmp_path / "ann" / f"{EmbryoDataset(data).videos[0]}_phases.csv"
    players = page.locator(PLAYER)
    players.nth(1).wait_for()

    def mark(place: int, phase: str, run: int) -> None:
        player = players.nth(place)
        player.get_by_label("Seek").fill(str(run))
        player.locator(f"button[data-phase='{phase}']").click()
        player.press("Enter")

    mark(0, "t2", 12)
    page.locator(f"{PLAYER}[data-annotation=saved]").nth(1).wait_for()
    Story(page, path.read_bytes).wait(b"t2,12,60\n")
    mark(1, "t2", 15)
    box = players.nth(1).locator(".ep-conflict")
    box.wait_for(state="visible")
    assert "changed elsewhere by Ann" in box.inner_text()
    assert "t2: mine run 15, theirs run 12" in box.inner_text()
    assert path.read_bytes() == b"t2,12,60\n"
    screenshot(page, "annotate-conflict")
    box.get_by_role("button", name="Keep mine").click()
    Story(page, path.read_bytes).wait(b"t2,15,60\n")
    box.wait_for(state="hidden")
    mark(0, "t3", 20)
    box = players.nth(0).locator(".ep-conflict")
    box.wait_for(state="visible")
    assert "t3: mine run 20, theirs not marked" in box.inner_text()
    box.get_by_role("button", name="Keep theirs").click()
    box.wait_for(state="hidden")
    assert path.read_bytes() == b"t2,15,60\n"
    changes = json.loads(path.with_suffix(".json").read_bytes())["changes"]
    assert [(change["reader"], change["do"]) for change in changes] == [("Ann", "set"), ("Bob", "keep")]
    assert page_errors(page) == []


def test_a_blind_reader_sees_the_published_phases_only_after_finishing(
    lab_page: Callable[..., Any], tmp_path: Path, data: Path
) -> None:
    page = lab_page(
        "import pandas as pd\nmovement = pd.Series(range(59), index=range(2, 61))\n"
        "player = EmbryoPlayer(v, annotations=folder, reader='Bob', blind=True, activity=movement)\nplayer"
    )
    ds = EmbryoDataset(data)
    published = Annotation(ds[ds.videos[0]], None).published
    assert not page.locator(".ep-reference").is_visible()
    assert page.locator(".ep-activity").count() == 0
    assert page.locator(f"{PLAYER} .ep-part:not(.ep-bare)").count() == 0
    held = "import json; s = player.get_state(); print(json.dumps([s['_series']['videos'][0]['phases'], s['_track']['published']]))"
    assert json.loads(kernel(page, held)) == [[], None]
    page.locator(PLAYER).press("]")  # goes to the end, as there is no phase
    seek(page, 12)
    assert page.locator(PLAYER).get_attribute("data-phase") == ""
    pick(page, "t2").click()
    page.keyboard.press("Enter")
    saved(page)
    page.locator(f"{PLAYER}[data-phase=t2]").wait_for()  # the own phase
    screenshot(page, "annotate-blind")
    page.get_by_role("button", name="Finish").click()
    page.locator(".ep-reference").wait_for(state="visible")
    shown = page.locator(".ep-reference [data-band-phase]").evaluate_all(
        "(parts) => parts.map((p) => p.dataset.bandPhase)"
    )
    assert shown == [str(phase) for phase in published]
    page.locator(".ep-activity").wait_for(state="visible")
    assert page.locator(PLAYER).get_attribute("data-run") == "12"
    assert f"published at run {published['t2']}" in pick(page, "t2").get_attribute("aria-label")
    difference = pick(page, "t2").locator(".ep-differs").inner_text()
    hours = ds[ds.videos[0]].hours
    assert difference.replace("\u2212", "-").startswith(f"{hours[12] - hours[published['t2']]:+.1f}"[:4])
    record = json.loads((tmp_path / "ann" / f"{ds.videos[0]}_phases.json").read_bytes())
    assert record["blind"]
    assert record["finished"]


def test_a_reader_is_warned_if_the_kernel_is_gone(lab_page: Callable[..., Any], tmp_path: Path, data: Path) -> None:
    page = lab_page("player = EmbryoPlayer(v, annotations=folder, reader='Ann')\nplayer")
    kill_kernel(page)
    seek(page, 12)
    pick(page, "t2").click()
    page.keyboard.press("Enter")
    saved(page, "saving")
    page.get_by_text("not saved yet: no answer; keep this page open").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert Path(download.value.path()).read_bytes() == b"t2,12,60\n"
    assert not (tmp_path / "ann").exists()


def test_the_exported_page_does_the_same(browser: Any, tmp_path: Path, data: Path) -> None:
    ds = EmbryoDataset(data)
    video = ds[ds.videos[0]]
    player = EmbryoPlayer(video)
    path = player.to_html(tmp_path / "page.html", annotate=True)
    player.close()
    context = browser.new_context(offline=True, viewport={"width": 1366, "height": 900}, accept_downloads=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    settle(page)

    def get(name: str = "Download") -> bytes:
        button = page.get_by_role("button", name=name, exact=True)
        rest(page, button)
        with page.expect_download() as download:
            button.click()
        ending = "json" if "history" in name else "csv"
        assert download.value.suggested_filename == f"{video.name}_phases.{ending}"
        return Path(download.value.path()).read_bytes()

    story = Story(page, get)
    story.mark()
    end = len(story.states) - 1
    place = story.undo(end, 3)
    page.reload()
    settle(page)
    place = story.undo(place, place)
    assert get() == b""
    page.reload()
    settle(page)
    story.redo(place, end)
    assert get() == b"t2,12,19\nt4,20,24\ntB,25,60\n"

    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / f"{video.name}_phases.csv").write_bytes(get())
    history = tmp_path / "ann" / f"{video.name}_phases.json"
    history.write_bytes(get("Download history"))
    again = Annotation(video, tmp_path / "ann")
    assert len(again.changes) == 3 * end
    assert again.record() == history.read_bytes(), "Python writes the same bytes"
    assert EmbryoDataset(data, annotations=tmp_path / "ann")[video.name].phases["phase"].tolist() == ["t2", "t4", "tB"]

    other = context.new_page()  # another tab with the same page
    other.goto(path.as_uri())
    settle(other)
    seek(other, 40)
    pick(other, "tEB").click()
    other.keyboard.press("Enter")
    seek(page, 50)
    pick(page, "tHB").click()
    page.keyboard.press("Enter")
    box = page.locator(".ep-conflict")
    box.wait_for(state="visible")
    assert "tEB: mine not marked, theirs run 40" in box.inner_text()
    box.get_by_role("button", name="Keep mine").click()
    box.wait_for(state="hidden")
    assert get() == b"t2,12,19\nt4,20,24\ntB,25,49\ntHB,50,60\n"

    blind = EmbryoPlayer(video, annotations=tmp_path / "bob", reader="Bob", blind=True)
    blind.to_html(tmp_path / "blind.html", annotate=True)
    blind.close()
    page.goto((tmp_path / "blind.html").as_uri())
    settle(page)
    seek(page, 12)
    pick(page, "t2").click()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Finish").click()
    page.get_by_role("button", name="Finish").wait_for(state="hidden")
    assert not page.locator(".ep-reference").is_visible()  # they are not in the page
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / f"{video.name}_phases.csv").write_bytes(get())
    (tmp_path / "bob" / f"{video.name}_phases.json").write_bytes(get("Download history"))
    read = Annotation(video, tmp_path / "bob")
    assert (read.finished, read.hidden, len(read.changes)) == (read.changes[-1]["at"], False, 2)
    runs = {phase: values["published"] for phase, values in read.changes[-1]["phases"].items()}
    assert runs == {str(phase): run for phase, run in read.published.items()}
    assert errors == []
    context.close()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(lab_page: Callable[..., Any], dark: bool) -> None:
    page = lab_page("EmbryoPlayer(v, annotations=folder, reader='Ann', start='published', value=30)", dark=dark)
    pick(page, "tPB2").click()
    page.keyboard.press("Enter")  # a wrong order, so that the sentence about it is there
    saved(page)
    page.locator(".ep-order").wait_for()
    page.add_script_tag(content=(HERE / "assets" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run('.embryo-player', {iframes: false})).violations")
    grave = [
        f"{v['id']}: {[n['html'][:120] for n in v['nodes'][:3]]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    theme = "dark" if dark else "light"
    for width, height in (1366, 700), (700, 700):
        page.set_viewport_size({"width": width, "height": height})
        page.locator(".ep-annotate").scroll_into_view_if_needed()
        screenshot(page, f"annotate-{theme}-{width}")
    assert grave == []
