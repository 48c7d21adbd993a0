"""Test the explorer in a real JupyterLab: 704 videos listed, filtered, opened, compared and bookmarked.

Times are printed (show them with `-s` or `-rP`). Limits are those of the specification; an attempt is repeated, because a
shared machine is sometimes slow.
"""

import io
import json
import math
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Shared, no_browser
from lab import kernel, page_errors, screenshot, told_in_kernel, wait_idle

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.util import released_videos
from nsw_da_medical_image.viewer.explorer import explore
from nsw_da_medical_image.viewer.plots import onset_table

HERE = Path(__file__).parent
ROOT = ".embryo-explorer"
SETUP = """
import json, time
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.explorer import explore
ds = EmbryoDataset({path!r})
"""

browser_test = pytest.mark.browser


# --- data ----------------------------------------------------------------------------------------


def make_many(drawn: Path, folder: Path) -> Path:
    """Make a data set of the 704 released ids in `folder`: links to the frames of a few drawn videos, in two planes."""
    names = list(EmbryoDataset(drawn).videos)
    grades = ["video_name,TE,ICM"]
    for number, name in enumerate(released_videos()):
        source = names[number % len(names)]
        for plane in ("embryo_dataset", "embryo_dataset_F15"):
            (folder / plane / name).mkdir(parents=True)
            for file in (drawn / plane / source).iterdir():
                os.link(file, folder / plane / name / file.name)
        for part, ending in (
            ("embryo_dataset_annotations", "_phases.csv"),
            ("embryo_dataset_time_elapsed", "_timeElapsed.csv"),
        ):
            (folder / part).mkdir(exist_ok=True)
            shutil.copyfile(drawn / part / f"{source}{ending}", folder / part / f"{name}{ending}")
        grades.append(f"{name},{'ABC'[number % 3]},{('A', 'B', 'NA')[number // 3 % 3]}")
    (folder / "embryo_dataset_grades.csv").write_text("\n".join(grades) + "\n")
    return folder


def pack(extracted: Path, folder: Path) -> Path:
    """Pack an extracted data set into its archives, which are indexed then."""
    folder.mkdir()
    shutil.copyfile(extracted / "embryo_dataset_grades.csv", folder / "embryo_dataset_grades.csv")
    for entry in sorted(path for path in extracted.iterdir() if path.is_dir()):
        with tarfile.open(folder / f"{entry.name}.tar.gz", "w:gz", compresslevel=1) as tar:
            for path in [entry, *sorted(entry.rglob("*"))]:
                member = tarfile.TarInfo(path.relative_to(extracted).as_posix())
                if path.is_dir():
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(member)
                else:
                    data = path.read_bytes()
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


@pytest.fixture(scope="session")
def few(shared: Callable[..., Shared]) -> Path:
    """Return six videos of 48 small frames."""
    return shared(videos=6, frames=48).extracted


@pytest.fixture(scope="session")
def many(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 704 videos, extracted."""
    copy = tmp_path_factory.mktemp("drawn") / "extracted"  # links would change the shared files
    return make_many(Path(shutil.copytree(few, copy)), tmp_path_factory.mktemp("many") / "extracted")


@pytest.fixture(scope="session")
def packed(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same 704 videos as archives."""
    return pack(many, tmp_path_factory.mktemp("packed") / "archives")


# --- a notebook and its explorer -----------------------------------------------------------------


@pytest.fixture
def browse(run_cells: Callable[..., Any]) -> Callable[..., Any]:
    """Return `browse(data, cells...)`, which runs cells in the notebook that tests share, and returns its page."""

    def start(data: Path, *sources: str, wait: bool = True) -> Any:
        page = run_cells(SETUP.format(path=str(data)), *sources)
        if wait:
            ready(page)
        return page

    return start


def ready(page: Any, root: str = ROOT) -> None:
    """Return when the descriptions of all videos are in the browser."""
    page.locator(f"{root}[data-ready=true]").first.wait_for(timeout=180_000)


def chosen(page: Any, name: str, root: str = ROOT) -> None:
    """Return when the explorer and its player show the video `name`."""
    page.locator(f"{root}[data-video='{name}']").first.wait_for()
    page.locator(f"{root} .embryo-player[data-video='{name}'][data-exact=true]").first.wait_for()


def shown(page: Any, root: str = ROOT) -> int:
    return int(page.locator(root).first.get_attribute("data-shown"))


def local(page: Any) -> None:
    """Assert that no other machine was contacted and no code failed."""
    assert page_errors(page) == []
    ours = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    assert [url for url in page.requests if not url.startswith(ours)] == []


def eventually(attempt: Callable[[], bool], times: int = 4) -> bool:
    """Return whether an attempt succeeds: slow code is slow every time, a shared machine only sometimes."""
    return any(attempt() for _ in range(times))


# --- 1: 704 videos are quick ---------------------------------------------------------------------

OPEN = """async () => {
  const app = window.jupyterapp, panel = app.shell.currentWidget;
  panel.content.activeCellIndex = panel.content.widgets.length - 1;
  panel.content.activeCell.model.clearExecution();
  while (document.querySelector('.embryo-explorer')) await new Promise(requestAnimationFrame); // of an earlier attempt
  const began = performance.now();
  const times = {};
  panel.content.activeCell.model.sharedModel.setSource('explorer = explore(ds)\\nexplorer');
  app.commands.execute('notebook:run-cell');
  await new Promise(done => {
    const look = () => {
      const root = document.querySelector('.embryo-explorer');
      if (root?.querySelectorAll('[role=row][data-video]').length > 5) times.rows ??= performance.now() - began;
      if (root?.querySelectorAll('[role=row] img').length > 5) times.pictures ??= performance.now() - began;
      if (root?.dataset.ready === 'true') times.ready ??= performance.now() - began;
      if (times.ready && times.pictures) done(); else requestAnimationFrame(look);
    };
    look();
  });
  return times;
}"""

# How long the filter takes until the rows are drawn, [[text, milliseconds, videos], ...]
FILTER = """async (texts) => {
  const root = document.querySelector('.embryo-explorer');
  const input = root.querySelector('[aria-label="Filter videos"]');
  const frame = () => new Promise(done => requestAnimationFrame(done));
  const taken = [];
  for (const text of texts) {
    await frame();
    const began = performance.now();
    input.value = text;
    input.dispatchEvent(new Event('input'));
    root.getBoundingClientRect();
    taken.push([text, performance.now() - began, Number(root.dataset.shown)]);
  }
  return taken;
}"""

# Measures in the kernel how late a loop is that should wake every 10 ms: how long anything blocks the kernel's main thread
LATE = """
import asyncio, time
worst = 0.0
async def measure():
    global worst
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.01)
        worst = max(worst, time.perf_counter() - began - 0.01)
task = asyncio.get_running_loop().create_task(measure())
"""

SCROLL = """async () => {
  const list = document.querySelector('.embryo-explorer [role=grid]');
  const rows = new Set();
  let most = 0;
  for (let top = 0; top < list.scrollHeight; top += 260) {
    list.scrollTop = top;
    await new Promise(done => setTimeout(done, 25));
    const here = list.querySelectorAll('[data-video]');
    most = Math.max(most, here.length);
    for (const row of here) rows.add(row.dataset.video);
  }
  return {rows: rows.size, most};
}"""


def heap(page: Any) -> float:
    """Return the megabytes of JavaScript that the page holds."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    size = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return size / 1e6


# Lets the walk through an archive go no further than `limit` bytes of the inflated stream
SLOW = """
import os, tempfile, threading
from nsw_da_medical_image.dataset_util import seek, source
cache = {"NSW_CACHE_DIR": os.environ.get("NSW_CACHE_DIR", "")}
os.environ["NSW_CACHE_DIR"] = tempfile.mkdtemp()  # nothing is indexed
moment, source._MOMENT = source._MOMENT, 0  # however small the archives are
read, limit = seek._Watched.readinto, float("inf")
def readinto(self, buffer):
    while self._position >= limit and not self._passed.closed and "embryo_dataset_" not in str(self._passed.path):
        time.sleep(0.01)
    return read(self, buffer[:4096])
seek._Watched.readinto = readinto
ds = EmbryoDataset(ds.path)
len(ds.contents.annotated), len(ds.contents.timed)
limit = 200_000
def left():
    return sum(not ds.contents.source.has_passed(f"embryo_dataset/{name}") for name in explorer._names)
"""


def fills_while_the_archive_is_indexed(page: Any) -> None:
    """Open 704 videos of archives without an index: rows come at once, pictures as the walk goes on, and the kernel is free."""
    kernel(page, SLOW)
    times = page.evaluate(OPEN.replace("times.ready && times.pictures", "times.ready"))
    late = float(kernel(page, "print(worst)"))
    print(
        f"\narchives without an index: rows after {times['rows']:.0f} ms, kernel blocked for {1000 * late:.0f} ms at most"
    )
    page.locator(f"{ROOT} .ee-waiting").first.wait_for()
    assert shown(page) == 704
    page.get_by_label("Filter videos").fill("tB")
    page.wait_for_function("() => Number(document.querySelector('.embryo-explorer').dataset.shown) < 704")
    page.get_by_label("Filter videos").fill("")
    assert kernel(page, "print(ds.contents.source.is_ready(['embryo_dataset']))") == "False"
    kernel(page, "explorer.value = ds.videos[-1]")  # the last one is not there yet
    page.get_by_text("waiting until the archives are read this far").wait_for()

    def is_never_blocked() -> bool:
        before = int(kernel(page, "worst = 0.0; limit += 3_000_000; print(left())"))
        told_in_kernel(page, f"print(left() < {before})", "True")
        late = float(kernel(page, "print(worst)"))
        print(f"while it is indexed, the kernel is blocked for {1000 * late:.0f} ms at most")
        return late < 0.1

    assert eventually(is_never_blocked)
    kernel(page, "limit = float('inf')")
    chosen(page, kernel(page, "print(explorer.value)"))
    page.locator(f"{ROOT} .ee-waiting").first.wait_for(state="detached")
    kernel(page, "explorer.close(); source._MOMENT = moment; seek._Watched.readinto = read; os.environ.update(cache)")


@browser_test
@pytest.mark.parametrize("form", ["extracted", "archives"])
def test_704_videos_are_quick(browse: Callable[..., Any], request: pytest.FixtureRequest, form: str) -> None:
    data = request.getfixturevalue("many" if form == "extracted" else "packed")
    page = browse(data, "", wait=False)
    kernel(page, LATE)
    if form == "archives":
        fills_while_the_archive_is_indexed(page)
    kernel(page, "print(ds[ds.videos[0]].phases.shape, ds[ds.videos[0]].hours.shape)")

    def opens_in_a_second() -> bool:
        kernel(page, "worst = 0.0")
        times = page.evaluate(OPEN)
        print(f"\n{form}: " + ", ".join(f"{name} after {time:.0f} ms" for name, time in times.items()))
        return times["rows"] < 1000

    assert eventually(opens_in_a_second)
    ready(page)
    assert shown(page) == 704

    def is_never_blocked() -> bool:
        kernel(page, "worst = 0.0")
        before = heap(page)
        seen = page.evaluate(SCROLL)
        page.wait_for_function("() => !document.querySelector('.embryo-explorer .ee-spacer .ee-blank')")
        late, grown = float(kernel(page, "print(worst)")), heap(page) - before
        print(f"{form}: {seen}, kernel blocked for {1000 * late:.0f} ms at most, {grown:.1f} MB more")
        assert seen["rows"] == 704
        assert seen["most"] < 40
        return late < 0.1 and grown < 30  # MB, the budget

    assert eventually(is_never_blocked)
    texts = ["t", "tB", "", "a", "aa", "aa8", "", "tHB", "83", "-7", "zz", "", "t2 t5", "1", "11", ""] * 3

    def filters_in_100_ms() -> bool:
        taken = page.evaluate(FILTER, texts)
        times = sorted(time for _, time, _ in taken)
        print(
            f"{form}: filtering takes {times[len(times) // 2]:.1f} ms, 95 % below {times[int(0.95 * len(times))]:.1f} ms"
        )
        return times[int(0.95 * len(times))] < 100

    assert eventually(filters_in_100_ms)
    ds = EmbryoDataset(data)
    reached = [name for name in ds.videos if "tB" in set(ds[name].phases.phase)]
    assert page.evaluate(FILTER, ["tB"])[0][2] == len(reached)
    told_in_kernel(page, "print(json.dumps(list(explorer.shown)))", json.dumps(reached))
    local(page)


# --- 2: choose, by mouse and by key --------------------------------------------------------------


@browser_test
def test_open_by_mouse_and_by_key(browse: Callable[..., Any], few: Path) -> None:
    page = browse(few, "explorer = explore(ds)\nexplorer")
    names = list(EmbryoDataset(few).videos)
    page.locator(f"{ROOT} [role=row][data-video='{names[1]}']").click()
    chosen(page, names[1])
    told_in_kernel(page, "print(explorer.value, explorer.player.videos[0].name)", f"{names[1]} {names[1]}")
    page.keyboard.press("n")
    chosen(page, names[2])
    page.keyboard.press("PageDown")
    chosen(page, names[3])
    page.keyboard.press("p")
    page.keyboard.press("PageUp")
    chosen(page, names[1])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    chosen(page, names[3])
    page.locator(f"{ROOT} .embryo-player").first.focus()  # also from the player, whose own keys remain
    page.keyboard.press("ArrowRight")
    page.locator(f"{ROOT} .embryo-player[data-run='2']").wait_for()
    page.keyboard.press("n")
    chosen(page, names[4])
    told_in_kernel(page, "print(explorer.value)", names[4])
    page.keyboard.press("p")  # the next player has the focus
    chosen(page, names[3])
    page.keyboard.press("n")
    chosen(page, names[4])
    assert page.locator(f"{ROOT} .embryo-player").count() == 1
    kernel(page, f"explorer.value = {names[0]!r}")
    chosen(page, names[0])
    screenshot(page, "explorer")
    local(page)


@browser_test
def test_filter_sort_and_the_video_without_tb(browse: Callable[..., Any], few: Path) -> None:
    page = browse(few, "explorer = explore(ds)\nexplorer")
    ds = EmbryoDataset(few)
    reached = [name for name in ds.videos if "tB" in set(ds[name].phases.phase)]
    without = [name for name in ds.videos if name not in reached]
    assert reached
    assert without
    page.get_by_label("Filter videos").press_sequentially("tB")
    page.locator(f"{ROOT}[data-shown='{len(reached)}']").wait_for()
    assert f"{len(reached)} of {len(ds)} videos" in page.locator(f"{ROOT} output").inner_text()
    page.keyboard.press("Enter")  # opens the first one
    chosen(page, reached[0])
    page.get_by_role("button", name="Show all").click()
    page.locator(f"{ROOT}[data-shown='{len(ds)}']").wait_for()
    later = [name for name in without if ds.videos._values.index(name) > ds.videos._values.index(reached[0])]
    page.get_by_role("button", name="Next video without tB").click()
    chosen(page, later[0])
    page.get_by_label("Phase reached").select_option("tHB")
    told_in_kernel(page, "print(len(explorer.shown))", str(sum("tHB" in set(v.phases.phase) for v in ds.values())))
    page.get_by_label("Phase reached").select_option("")
    page.get_by_label("Sort by").select_option("t2")
    onsets = onset_table(ds)["t2"].to_dict()
    order = sorted(ds.videos, key=onsets.__getitem__)
    told_in_kernel(page, "print(json.dumps(list(explorer.shown)))", json.dumps(order))
    page.get_by_role("button", name="Ascending; change to descending").click()
    order = sorted(ds.videos, key=onsets.__getitem__, reverse=True)
    told_in_kernel(page, "print(json.dumps(list(explorer.shown)))", json.dumps(order))
    local(page)


@browser_test
def test_a_report_adds_findings(browse: Callable[..., Any], few: Path) -> None:
    first, second = EmbryoDataset(few).videos[:2]
    findings = f"""
import pandas as pd
columns = ["check", "severity", "video", "plane", "runs", "message", "remedy"]
table = pd.DataFrame([["run-gap", "warning", {second!r}, "F0", "3-5", "3 runs are missing", ""], ["clock", "error", {second!r}, "", "", "<b>no</b>", ""]], columns=columns)
explorer = explore(ds, report=table)
explorer"""
    page = browse(few, findings)
    badges = page.locator(f"{ROOT} [data-video='{second}'] .ee-badge")
    assert [badge.get_attribute("aria-label") for badge in badges.all()] == ["1 error", "1 warning"]
    page.get_by_label("Finding", exact=True).select_option("clock")
    page.locator(f"{ROOT}[data-shown='1']").wait_for()
    page.locator(f"{ROOT} [role=row][data-video='{second}']").click()
    chosen(page, second)
    text = page.locator(f"{ROOT} .ee-findings").inner_text()
    assert "2 findings" in text
    assert "<b>no</b>" in text
    assert "runs 3-5" in text
    page.get_by_label("Finding", exact=True).select_option("none")
    page.locator(f"{ROOT}[data-shown='5']").wait_for()
    page.get_by_label("Finding", exact=True).select_option("")
    page.locator(f"{ROOT} [role=row][data-video='{first}']").click()
    chosen(page, first)
    assert "No findings" in page.locator(f"{ROOT} .ee-findings").inner_text()
    local(page)


@browser_test
def test_siblings_side_by_side(browse: Callable[..., Any], few: Path) -> None:
    page = browse(few, "explorer = explore(ds)\nexplorer")
    ds = EmbryoDataset(few)
    name = next(name for name in ds.videos if sum(v.code == ds[name].code for v in ds.values()) == 2)
    page.locator(f"{ROOT} [role=row][data-video='{name}']").click()
    chosen(page, name)
    align = page.get_by_label("Siblings are aligned")
    assert align.is_hidden()
    page.get_by_role("button", name="Siblings side by side").click()
    page.locator(f"{ROOT} .ep-panes[data-panes='2']").wait_for()
    page.locator(f"{ROOT} .embryo-player[data-align='t2']").wait_for()  # the first divisions are simultaneous
    told_in_kernel(page, "print(explorer.value, explorer.together, len(explorer.player.videos))", f"{name} True 2")
    assert align.locator("option:checked").inner_text() == "from the first division (t2)"
    align.select_option("by hours since insemination")
    page.locator(f"{ROOT} .embryo-player[data-align='hours']").wait_for()
    page.locator(f"{ROOT} .embryo-player").get_by_label("Align", exact=True).select_option("by t4")  # in the player
    told_in_kernel(page, "print(explorer.align, explorer.player.align)", "t4 t4")
    page.wait_for_function("() => document.querySelector('[aria-label=\"Siblings are aligned\"]').value === 't4'")
    page.get_by_role("button", name="Siblings side by side").click()
    page.locator(f"{ROOT} .ep-panes[data-panes='1']").wait_for()
    local(page)


COLOURS = """(name) => Object.fromEntries([...document.querySelectorAll(`[data-video='${name}'] .ee-part`)].map(
  (part) => [part.textContent, getComputedStyle(part).backgroundColor]))"""
PIXEL = """([down, along]) => {
  const canvas = document.querySelector('.ee-raster canvas');
  const at = [canvas.width * along, canvas.height * down];
  return `rgb(${[...canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3).join(', ')})`;
}"""


@browser_test
def test_the_raster_shows_all_videos_and_opens_them(browse: Callable[..., Any], few: Path) -> None:
    page = browse(few, "explorer = explore(ds)\nexplorer")
    ds = EmbryoDataset(few)
    onsets = onset_table(ds)["t4"].sort_values(na_position="last", kind="stable")
    video = ds[onsets.index[0]]
    colours = page.evaluate(COLOURS, video.name)
    page.get_by_label("Sort by").select_option("t4")
    page.get_by_role("button", name="Overview").click()
    rows = page.locator(f"{ROOT} .ee-raster-rows[data-rows='6']")
    rows.wait_for()
    for place in 2, 4:
        box = page.locator(f"{ROOT} .ee-raster canvas").bounding_box()
        where = {"x": box["width"] / 2, "y": (place + 0.5) * box["height"] / 6}
        page.locator(f"{ROOT} .ee-raster canvas").hover(position=where)
        name = onsets.index[place]
        page.locator(f"{ROOT} .ee-pointed", has_text=name).wait_for()
        rows.click(position=where)
        chosen(page, name)
        assert page.locator(f"{ROOT} .ee-pointer").get_attribute("aria-selected") == "true"
    limit = 24 * math.ceil(max(v.hours.max() for v in ds.values()) / 24)
    begins = [video.hours[run] for run in video.phases["first"]]
    for phase, begin, end in zip(video.phases.phase, begins, begins[1:], strict=False):  # by hours, as in the list
        if end - begin > 3:
            assert page.evaluate(PIXEL, [0.4 / 6, (begin + end) / 2 / limit]) == colours[phase]
    rows.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    chosen(page, onsets.index[1])
    page.get_by_role("button", name="Overview").click()
    page.locator(f"{ROOT} [role=row][data-video='{onsets.index[0]}']").wait_for()
    local(page)


@browser_test
def test_a_blind_reader_sees_phases_after_finishing(browse: Callable[..., Any], few: Path, tmp_path: Path) -> None:
    ds = EmbryoDataset(few)
    first, second = ds.videos[:2]
    columns = ["check", "severity", "video", "plane", "runs", "message", "remedy"]
    call = f"""import pandas as pd
table = pd.DataFrame([["run-gap", "warning", {first!r}, "F0", "3-5", "3 runs", ""]], columns={columns})
explorer = explore(ds, report=table, annotations={str(tmp_path / "blind")!r}, blind=True, reader="Ann")
explorer"""
    page = browse(few, call)
    assert page.locator(f"{ROOT} .ee-part").count() == page.locator(f"{ROOT} .ee-spacer .ee-badge").count() == 0
    page.get_by_label("Filter videos").fill("tB")
    page.locator(f"{ROOT}[data-shown='0']").wait_for()
    page.get_by_role("button", name="Show all").click()
    page.locator(f"{ROOT} [role=row][data-video='{first}']").click()
    chosen(page, first)
    assert page.locator(f"{ROOT} .ee-times").count() == 0
    assert "Findings are hidden" in page.locator(f"{ROOT} .ee-findings").inner_text()
    assert page.get_by_role("button", name="Siblings side by side").is_disabled()
    page.locator(f"{ROOT} [data-phase=t2].ep-phase").click()
    page.get_by_role("button", name="Begins here").click()
    page.get_by_text("saved in blind").wait_for()
    page.get_by_role("button", name="Finish", exact=True).click()
    page.locator(f"{ROOT} .ee-times").first.wait_for()
    assert page.locator(f"{ROOT} [data-video='{first}'] .ee-part").count() == len(ds[first].phases)
    assert page.locator(f"{ROOT} .ee-spacer .ee-badge").count() == 1
    assert json.loads((tmp_path / "blind" / f"{first}_phases.json").read_text())["blind"]
    page.get_by_role("button", name="Next video that is not finished").click()
    chosen(page, second)
    assert page.locator(f"{ROOT} .ee-times").count() == 0
    told_in_kernel(page, "print(explorer.events[['video', 'phase']].values.tolist())", f"[['{first}', 't2']]")
    local(page)


@browser_test
def test_without_a_folder_everything_can_be_downloaded(browse: Callable[..., Any], few: Path) -> None:
    page = browse(few, "explorer = explore(ds)\nexplorer")
    first, second = EmbryoDataset(few).videos[:2]
    page.locator(f"{ROOT} [role=row][data-video='{first}']").click()
    chosen(page, first)
    assert page.locator(f"{ROOT} .ep-annotate").count() == 0
    page.get_by_role("button", name="Mark where phases begin").click()
    page.locator(f"{ROOT} .ep-annotate [data-phase=t4].ep-phase").click()
    page.get_by_role("button", name="Begins here").click()
    with page.expect_download() as waiting:  # at once: the kernel may not have answered
        page.get_by_role("button", name="Download history").click()
    record = json.loads(Path(waiting.value.path()).read_text())
    assert [change["phases"]["t4"]["run"] for change in record["changes"]] == [1]
    with page.expect_download() as waiting:
        page.locator(f"{ROOT} .ep-annotate").get_by_role("button", name="Download", exact=True).click()
    assert waiting.value.suggested_filename == f"{first}_phases.csv"
    assert Path(waiting.value.path()).read_text() == "t4,1,48\n"
    page.get_by_text("not saved in a file: download it").wait_for()
    page.keyboard.press("n")
    chosen(page, second)
    page.keyboard.press("p")
    chosen(page, first)  # what was marked is still there
    page.locator(f"{ROOT} .ep-annotate [data-phase=t4][aria-label*='run 1']").wait_for()
    told_in_kernel(
        page,
        "print(explorer.events.values.tolist())",
        str([[first, "t4", 1, float(EmbryoDataset(few)[first].hours[1])]]),
    )
    page.get_by_role("button", name="Bookmark this frame").click()
    page.get_by_label("Comment on run 1", exact=True).press_sequentially("a, b")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download bookmarks").click()
    assert Path(waiting.value.path()).read_text().splitlines()[1].endswith(',"a, b"')
    local(page)


@browser_test
def test_bookmarks_are_saved_and_a_reload_keeps_the_state(
    browse: Callable[..., Any], few: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    page = browse(few, f"explorer = explore(ds, annotations={str(notes)!r})\nexplorer")
    second = EmbryoDataset(few).videos[1]
    page.locator(f"{ROOT} [role=row][data-video='{second}']").click()
    chosen(page, second)
    page.locator(f"{ROOT} .embryo-player").first.focus()
    page.keyboard.press("Shift+ArrowRight")
    page.locator(f"{ROOT} .embryo-player[data-run='11'][data-exact=true]").wait_for()
    page.get_by_role("button", name="Bookmark this frame").click()
    comment = page.get_by_label("Comment on run 11")
    comment.wait_for()
    page.wait_for_function("() => document.activeElement.ariaLabel === 'Comment on run 11'")
    page.keyboard.type("uneven, n and p are letters here")
    page.keyboard.press("Enter")
    page.locator(".ee-status", has_text="Saved in").wait_for()
    told_in_kernel(page, "print(explorer.bookmarks.comment.tolist())", "['uneven, n and p are letters here']")
    assert (notes / f"{second}_bookmarks.csv").read_text() == 'run,comment\n11,"uneven, n and p are letters here"\n'
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download bookmarks").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert lines[0] == "video,run,hours,comment"
    assert lines[1].startswith(f"{second},11,")
    page.get_by_label("Filter videos").fill("uneven")
    page.locator(f"{ROOT}[data-shown='1']").wait_for()
    page.locator(f"{ROOT} .embryo-player").first.focus()
    page.keyboard.press("Home")
    page.locator(f"{ROOT} .embryo-player[data-run='1']").wait_for()
    page.get_by_role("button", name="run 11 \u00b7").click()
    page.locator(f"{ROOT} .embryo-player[data-run='11']").wait_for()
    told_in_kernel(page, "print(explorer.shown)", f"('{second}',)")
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    wait_idle(page)
    ready(page)
    chosen(page, second)
    assert shown(page) == 1
    assert page.get_by_label("Filter videos").input_value() == "uneven"
    assert page.get_by_label("Comment on run 11").input_value() == "uneven, n and p are letters here"
    page.get_by_role("button", name="Remove the bookmark of run 11").click()
    told_in_kernel(page, "print(len(explorer.bookmarks))", "0")
    local(page)


@browser_test
def test_two_explorers_on_one_page(browse: Callable[..., Any], few: Path) -> None:
    page = browse(few, "one = explore(ds)\none", "two = explore(ds)\ntwo")
    page.wait_for_function("() => document.querySelectorAll('.embryo-explorer[data-ready=true]').length === 2")
    names = list(EmbryoDataset(few).videos)
    roots = page.locator(ROOT)
    roots.nth(0).locator(f"[role=row][data-video='{names[0]}']").click()
    roots.nth(1).locator(f"[role=row][data-video='{names[1]}']").click()
    roots.nth(1).get_by_label("Filter videos").fill(names[1])
    told_in_kernel(
        page, "print(one.value, two.value, len(one.shown), len(two.shown))", f"{names[0]} {names[1]} {len(names)} 1"
    )
    roots.nth(0).locator(f".embryo-player[data-video='{names[0]}']").wait_for()
    roots.nth(1).locator(f".embryo-player[data-video='{names[1]}']").wait_for()
    local(page)


@browser_test
def test_axe_finds_nothing_serious(browse: Callable[..., Any], few: Path) -> None:
    page = browse(few, "explorer = explore(ds)\nexplorer")
    first = EmbryoDataset(few).videos[0]
    page.add_script_tag(content=(HERE / "assets" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))

    def is_fine(state: str) -> None:
        for theme in "Light", "Dark":
            page.evaluate(
                "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}"
            )
            page.locator(f"body[data-jp-theme-light='{str(theme == 'Light').lower()}']").wait_for(state="attached")
            found = page.evaluate("async () => (await axe.run('.embryo-explorer', {iframes: false})).violations")
            screenshot(page, f"explorer-{theme.lower()}-{state}")
            grave = [
                f"{state}, {theme}: {v['id']}: {[n['html'][:160] for n in v['nodes'][:3]]}"
                for v in found
                if v["impact"] in ("serious", "critical")
            ]
            assert grave == []

    is_fine("before")
    page.get_by_role("button", name="Overview").click()
    page.locator(f"{ROOT} .ee-raster-rows[data-rows='6']").wait_for()
    is_fine("raster")
    page.get_by_role("button", name="Overview").click()
    page.locator(f"{ROOT} [role=row][data-video='{first}']").click()
    chosen(page, first)
    page.get_by_role("button", name="Bookmark this frame").click()
    page.get_by_label("Comment on run 1", exact=True).wait_for()
    is_fine("after")


def test_the_table_is_shown_by_nbconvert() -> None:
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter().from_filename(str(HERE.parent / "nbs" / "viewer" / "05_explorer.ipynb"))
    assert '<div class="ee-still">' in html
    assert "middle frame" in html


def test_a_saved_notebook_is_small_and_readable_without_a_kernel(many: Path) -> None:
    explorer = explore(EmbryoDataset(many))
    bundle = explorer._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["text/html"].count("<img") == 8
    assert "and 696 more" in data["text/html"]
    assert len(json.dumps(data)) < 80_000
    sent = {name: value for name, value in explorer._list.get_state().items() if name not in ("_esm", "_css")}
    assert len(json.dumps(sent, default=str)) < 25_000  # the names and codes of 704 videos
    explorer.close()


def test_the_pure_helpers_in_node() -> None:
    node = shutil.which("node")
    if node is None:
        no_browser("there is no node on PATH")
    done = subprocess.run([node, "--test", HERE / "explorer.test.mjs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
