"""Test the report as users see it: hostile names, as many findings as in the release, a page in a browser, a notebook."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Shared
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import page_errors, screenshot

from nsw_da_medical_image.common.findings import FINDING_COLUMNS, Finding, Severity, findings_table
from nsw_da_medical_image.common.text import runs_ranges, runs_text
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.util import FocalPlane, released_videos
from nsw_da_medical_image.validation.report import Report
from nsw_da_medical_image.validation.report_page import heat_map, notebook_html, worst_frames
from nsw_da_medical_image.validation.validate import validate

HERE = Path(__file__).parent
QUIRKS = ("truncated-jpeg@SAM1-2", "dark-frames@SAM1-7", "empty-file@SAM1-7", "empty-well@SAM2-4")
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "';alert(1)//",
    '=HYPERLINK("http://x.example","y")',
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "\u202egnp.exe",
    "&lt;b&gt;",
    "</style><script>alert(1)</script>",
    "x" * 250,
]


# --- reports -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def planted(shared: Callable[..., Shared]) -> tuple[Path, list[list[Any]]]:
    """Return a data set with planted defects, and rows for `report_of` that name them."""
    sample = shared(frames=32, size=120, quirks=QUIRKS)
    grave = {"truncated-jpeg": "error", "empty-file": "error", "empty-well": "error", "dark-frames": "warning"}
    rows = [[p.quirk, grave[p.quirk], p.video, "F0", runs_text(p.runs), f"{len(p.runs)} runs"] for p in sample.planted]
    return sample.extracted, [*rows, ["run-gap", "info", "SAM2-4", "", "7", "missing"]]


def findings_of(rows: list[list[Any]]) -> list[Finding]:
    return [
        Finding(check, Severity(severity), video, plane, tuple(runs_ranges(runs)), message)
        for check, severity, video, plane, runs, message in rows
    ]


@pytest.fixture(scope="session")
def small(planted: tuple[Path, list[list[Any]]]) -> Report:
    path, rows = planted
    return Report(findings_of(rows), dataset=EmbryoDataset(path), checks=[*(row[0] for row in rows), "frame-name"])


@pytest.fixture(scope="session")
def validated(planted: tuple[Path, list[list[Any]]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Return the report of `validate` on this data set, with pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NSW_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield validate(planted[0], pixels=True)


@pytest.fixture(scope="session")
def hostile(small: Report) -> Report:
    """Return a report in which every text that comes from files is harmful."""
    rows = [[name, "error", name, name, "1-3", name] for name in HOSTILE]
    rows += [["stray-file", "info", "", "", "", name] for name in HOSTILE]
    return Report(findings_of(rows), dataset=small.dataset, checks=HOSTILE, videos=HOSTILE, path=f"{HOSTILE[0]}\udcff")


@pytest.fixture(scope="session")
def release() -> Report:
    """Return about as many findings as the whole release has, of 50 kinds."""
    draw = random.Random(0)
    rows = []
    for n in range(50):
        severity = "error" if n < 15 else "warning" if n < 30 else "info"
        for video in draw.sample(released_videos(), draw.randint(1, 704 if n >= 30 else 60)):
            runs = "" if draw.random() < 0.3 else runs_text(draw.sample(range(1, 500), draw.choice([1, 40])))
            rows.append([f"a-check-with-a-name-{n}", severity, video, draw.choice(["", "F0"]), runs, "evidence " * 9])
    remedy = "leave the video out, or see what the authors of the audit say about it"
    findings = [each._replace(remedy=remedy) for each in findings_of(rows)]
    return Report(
        findings, checks=dict.fromkeys(each.check for each in findings), videos=released_videos(), path="data/extracted"
    )


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "validated", "hostile", "release"])
@pytest.mark.slow
def test_the_summary_fits_one_screen(name: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(name)
    lines = report.summary().split("\n")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert all(line.isprintable() for line in lines)
    kinds = [line.split()[0] for line in lines if line.startswith(("error ", "warning ", "info "))]
    assert kinds == sorted(kinds, key=["error", "warning", "info"].index)
    assert len(kinds) == min(35, len(report.groups)) or "more kinds" in report.summary()


def test_a_long_path_does_not_hide_what_was_checked() -> None:
    first = Report([], checks=["layout"], videos=["A-1"], path="/data/" * 40 + "extracted").summary().split("\n")[0]
    assert first == ".../extracted: 1 video, 1 check, pixels not checked"


def test_many_findings_of_a_kind_are_one_line() -> None:
    rows = [["truncated-jpeg", "error", name, "", "1-480", "480 of 480"] for name in released_videos()[:52]]
    report = Report(findings_of(rows), videos=released_videos())
    (line,) = [line for line in report.summary().splitlines() if "truncated-jpeg" in line]
    assert line.split()[:6] == ["error", "truncated-jpeg", "52", "videos", "24,960", "runs"]
    assert report.counts == {"error": 52, "warning": 0, "info": 0}
    assert len(report.valid) == 652
    assert report.to_html().count("<summary") == 1


def test_a_report_of_nothing() -> None:
    report = Report([], videos=["AA83-7"], checks=["run-gap"])
    assert "no check found anything" in report.summary()
    assert report.exclude("info").empty
    assert list(report.exclude().columns) == ["video", "plane", "runs"]
    assert report.valid == ("AA83-7",)
    assert "No check found anything" in report.to_html()
    assert json.loads(report.to_json())["findings"] == []


def test_a_table_without_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="lack the column remedy"):
        Report(findings_table([]).drop(columns="remedy"))


# --- what to leave out ---------------------------------------------------------------------------

RUNS = st.sets(st.integers(1, 12)).map(runs_text)
FINDINGS = st.lists(
    st.tuples(st.sampled_from(list(Severity)), st.sampled_from(["", "A1-1", "A1-2"]), st.sampled_from(["", "F0", "F-15"]), RUNS),
    max_size=12,
)  # fmt: skip


def meant(rows: Any) -> set[tuple[str, str, int]]:
    """Return each frame that (video, plane, runs) mean, in a world of two planes and twelve runs."""
    frames = set()
    for video, plane, runs in rows:
        numbers = set(range(1, 13))
        if runs:
            parts = [[int(end) for end in part.split("-")] for part in runs.split(", ")]
            numbers = {run for part in parts for run in range(part[0], part[-1] + 1)}
        frames |= {(video, one, run) for one in ([plane] if plane else ["F0", "F-15"]) for run in numbers}
    return frames


@settings(deadline=None)
@given(FINDINGS, st.sampled_from(list(Severity)))
def test_what_is_left_out_is_what_was_found(found: list[tuple], severity: Severity) -> None:
    report = Report([Finding("a-check", *where, tuple(runs_ranges(runs))) for *where, runs in found])
    out = report.exclude(severity).values.tolist()
    asked = [row[1:] for row in found if row[0].rank <= severity.rank and row[1]]
    assert meant(out) == meant(asked)
    named = [meant([row]) for row in out if row[2]]
    assert sum(map(len, named)) == len(set().union(*named))  # nothing is said twice
    assert len({(video, plane) for video, plane, _ in out}) == len(out)
    assert [row[0] for row in out] == sorted(row[0] for row in out)


def test_tables_and_splits_take_a_report(small: Report) -> None:
    ds = small.dataset
    assert ds is not None
    for severity in "error", "warning":
        out = meant_runs(small.exclude(severity))
        left = ds.table(exclude=small if severity == "error" else small.exclude(severity))
        named = [(row.video, row.plane, row.run) in out for row in ds.table().itertuples()]
        assert 0 < sum(named) < len(named)
        assert left.reset_index(drop=True).equals(ds.table()[[not each for each in named]].reset_index(drop=True))


def meant_runs(out: pd.DataFrame) -> set[tuple[str, str, int]]:
    """Return each frame of plane F0 that an exclusion list names by runs."""
    assert set(out["plane"]) == {"F0"}
    rows = out[["video", "plane", "runs"]].values.tolist()
    return {
        (video, plane, run)
        for video, plane, runs in rows
        for first, last in runs_ranges(runs)
        for run in range(first, last + 1)
    }


# --- files ---------------------------------------------------------------------------------------


def test_json_is_exact(hostile: Report, tmp_path: Path) -> None:
    path = hostile.to_json(tmp_path / "report.json")
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["findings"] == hostile.findings.to_dict("records")
    assert told["videos"] == HOSTILE
    assert told["exclude"] == hostile.exclude().to_dict("records")


def test_no_cell_of_the_csv_is_a_formula(hostile: Report, small: Report, tmp_path: Path) -> None:
    table = pd.read_csv(hostile.to_csv(tmp_path / "hostile.csv"), dtype=str, keep_default_na=False)
    assert len(table) == len(hostile.findings)
    assert not [cell for cell in table.to_numpy().ravel() if cell.startswith(tuple("=+-@\t\r\n"))]
    harmless = pd.read_csv(small.to_csv(tmp_path / "small.csv"), dtype=str, keep_default_na=False)
    assert harmless.values.tolist() == small.findings[list(FINDING_COLUMNS)].values.tolist()


@pytest.mark.parametrize("write", ["to_json", "to_csv", "to_html"])
def test_files_are_not_overwritten(small: Report, tmp_path: Path, write: str) -> None:
    path = tmp_path / "report"
    assert getattr(small, write)(path) == path
    assert path.read_text(encoding="utf-8") == getattr(small, write)()
    with pytest.raises(FileExistsError):
        getattr(small, write)(path)
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


class _Elements(HTMLParser):
    """Collect the elements of a page with their attributes, and the text outside of styles."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("form", ["to_html", "_repr_html_"])
def test_hostile_names_stay_text(hostile: Report, form: str) -> None:
    page = _Elements(getattr(hostile, form)())
    kinds = {tag for tag, _ in page.elements}
    assert not kinds & {"script", "img", "iframe", "a", "link", "b", "object"}
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 4
    assert "\\x1b[31mred" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_a_hostile_copy_becomes_a_harmless_page(planted: tuple[Path, list[list[Any]]], tmp_path: Path) -> None:
    copy = tmp_path / "<b>copy"
    shutil.copytree(planted[0], copy)
    names = ["<script>alert(1)<\u2215script>", "=1+1", "\x1b[31mred"]
    for plane in FocalPlane:
        for old, new in zip(["SAM1-2", "SAM1-7", "SAM2-4"], names, strict=True):
            (copy / plane.folder / old).rename(copy / plane.folder / new)
    report = validate(copy)
    assert set(names) <= set(report.findings["video"])
    page = _Elements(report.to_html())
    assert not {tag for tag, _ in page.elements} & {"script", "b"}
    assert names[0] in page.text
    assert all(line.isprintable() for line in report.summary().split("\n"))
    assert "\n=1+1" not in report.to_csv()
    assert ",=1+1" not in report.to_csv()


def test_what_was_measured_is_drawn(validated: Report) -> None:
    page = _Elements(validated.to_html())
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert drawings
    assert all(str(each["aria-label"]).split()[0] in ("texture", "mean") for each in drawings)
    dark = validated.findings.query("check == 'dark-frames' and plane in ('', 'F0')")["runs"].item()
    assert len([each for each in drawings if dark in str(each["aria-label"])]) == 1


def test_a_video_stands_once_for_a_kind(validated: Report, small: Report) -> None:
    frames = worst_frames(validated.findings, validated.dataset)
    kinds = [(shown.check, shown.video) for shown in frames]
    assert len(set(kinds)) == len(kinds)
    assert {(check, video) for check, video in kinds} >= {
        ("truncated-jpeg", "SAM1-2"),
        ("dark-frames", "SAM1-7"),
        ("empty-well", "SAM2-4"),
    }
    assert {shown.plane for shown in frames} == {"F0"}


@pytest.mark.slow
def test_a_notebook_gets_no_more_than_it_can_hold(release: Report, small: Report) -> None:
    page = _Elements(release._repr_html_())
    assert len(release._repr_html_()) < 500_000
    assert len([tag for tag, _ in page.elements if tag == "tr"]) < 50 * 22 + 42
    assert "to_csv() and to_json() contain all of them" in page.text
    buttons = [
        attributes for tag, attributes in _Elements(notebook_html(small, buttons=True)).elements if tag == "button"
    ]
    assert len(buttons) == 3 + 4  # videos with errors or warnings, and the worst frames


@pytest.mark.slow
def test_every_video_with_a_fault_is_in_the_heat_map(release: Report) -> None:
    grave = release.findings[release.findings["severity"] != "info"]
    table = heat_map(release.findings)
    assert set(table.videos) == set(grave["video"])
    for check, severity, video in grave[["check", "severity", "video"]].values.tolist():
        assert table.cells[video, check][0] == severity
    page = _Elements(release.to_html())
    cells = [attributes for tag, attributes in page.elements if tag == "td" and "title" in attributes]
    assert len(cells) == len(table.cells)


def test_pictures_are_few_small_and_can_be_left_out(small: Report) -> None:
    assert small.to_html().count("data:image/jpeg;base64,") == 3
    assert "this frame cannot be read" in small.to_html()
    assert "data:image" not in small.to_html(pictures=0)
    assert small.to_html(pictures=2).count('class="nr-picture"') == 2
    assert len(small.to_html()) < 100_000


def test_without_widgets_until_they_are_needed() -> None:
    code = (
        "import sys, nsw_da_medical_image.validation.report as r\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('anywidget', 'ipywidgets', 'matplotlib') or m.endswith('.player')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# --- a page in a browser -------------------------------------------------------------------------


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Any:
    """Return `show(report, width, dark)`, which opens the page of a report without a network."""
    contexts = []

    def opened(report: Report, width: int = 1000, dark: bool = False) -> Any:
        path = report.to_html(tmp_path / f"{len(contexts)}.html")
        scheme = "dark" if dark else "light"
        contexts.append(
            browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
        )
        page = contexts[-1].new_page()
        page.noise = []
        page.on("console", lambda message: page.noise.append(message.text))
        page.on("pageerror", lambda error: page.noise.append(str(error)))
        page.on("request", lambda request: page.noise.append(request.url))
        page.goto(path.as_uri())
        page.noise = [line for line in page.noise if not line.startswith(("file:", "data:"))]
        return page

    yield opened
    for context in contexts:
        context.close()


def until(page: Any, condition: str) -> None:
    """Return when `condition` holds; Playwright's own way to wait is what the page's Content-Security-Policy forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    assert page.evaluate(condition)


def axe(page: Any, part: str) -> list[str]:
    """Return the serious and critical findings of axe-core."""
    page.evaluate((HERE / "assets" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(f"async () => (await axe.run('{part}', {{iframes: false}})).violations")
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    return [f"{v['id']}: {[n['html'][:120] for n in v['nodes'][:3]]}" for v in grave]


LOOKS = [(width, dark) for width in (600, 1400) for dark in (False, True)]


@pytest.mark.browser
@pytest.mark.parametrize("name", ["small", "validated", "hostile", "release"])
def test_a_page_of_its_own(show: Any, request: pytest.FixtureRequest, name: str) -> None:
    page = show(request.getfixturevalue(name))
    for kind in page.locator("summary").all()[:3]:
        kind.click()
    for width, dark in LOOKS if name != "release" else [(600, True), (1400, False)]:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light")
        assert page.locator("details[open] .nr-list").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if name != "release":  # axe takes minutes for tens of thousands of cells, of which these are examples
            assert axe(page, "body") == []
        screenshot(page, f"report-{name}-{width}-{'dark' if dark else 'light'}")
    assert page.noise == []


@pytest.mark.browser
def test_the_keyboard_opens_a_kind_and_scrolls_the_map(show: Any, release: Report) -> None:
    page = show(release)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"
    region = page.get_by_role("region", name="Videos and checks")
    region.focus()
    page.keyboard.press("End")
    until(page, "document.activeElement.scrollTop > 1000")
    top = page.locator(".nr-heat thead th").nth(1)
    assert top.bounding_box()["y"] >= region.bounding_box()["y"] - 1  # the names of the checks stay in sight


@pytest.mark.browser
def test_on_paper_everything_is_open(show: Any, small: Report) -> None:
    page = show(small, dark=True)
    row = page.locator(".nr-list th[scope=row]").first
    assert not row.is_visible()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert row.evaluate(
        "row => row.checkVisibility({contentVisibilityAuto: true}) && row.getBoundingClientRect().height > 5"
    )
    assert page.pdf()[:5] == b"%PDF-"


# --- a notebook ----------------------------------------------------------------------------------

SETUP = """
import json
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.common.findings import Finding, Severity
from nsw_da_medical_image.common.text import runs_ranges
from nsw_da_medical_image.validation.report import Report
found = [
    Finding(check, Severity(severity), video, plane, tuple(runs_ranges(runs)), message)
    for check, severity, video, plane, runs, message in json.loads({rows!r})
]
report = Report(found, dataset=EmbryoDataset({path!r}), checks=["frame-name"])
"""


@pytest.fixture
def noted(run_cells: Callable[..., Any], planted: tuple[Path, list[list[Any]]]) -> Callable[..., Any]:
    """Return a function that shows a report in the notebook that tests share, and returns its page."""

    def start() -> Any:
        path, rows = planted
        page = run_cells(SETUP.format(rows=json.dumps(rows), path=str(path)), "view = report.view()\nview", "report")
        page.locator(".nsw-report").nth(1).wait_for()
        return page

    return start


@pytest.mark.browser
def test_a_notebook_is_accessible_and_a_picture_opens_the_player_at_its_run(
    noted: Callable[..., Any], small: Report
) -> None:
    page = noted()
    page.locator(".nsw-report summary").first.click()
    for theme in "Dark", "Light":
        change = "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
        page.evaluate(change, f"JupyterLab {theme}")
        page.locator(f"body[data-jp-theme-light='{str(theme == 'Light').lower()}']").wait_for(state="attached")
        assert axe(page, ".nsw-report") == []
        screenshot(page, f"report-notebook-{theme.lower()}")
    view = page.locator(".jp-OutputArea-output").first
    dark = next(row for row in small.findings.to_dict("records") if row["check"] == "dark-frames")
    button = view.get_by_role("button", name="dark-frames")
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    player = view.locator(".embryo-player[data-exact=true]")
    player.wait_for(timeout=180_000)
    told = button.inner_text().replace(",", "").split()
    assert told[0] == dark["video"] == player.locator(".ep-title strong").inner_text()
    assert player.get_attribute("data-run") == told[2]
    assert any(first <= int(told[2]) <= last for first, last in runs_ranges(dark["runs"]))
    assert button.get_attribute("aria-expanded") == "true"
    assert f"{told[0]} at RUN {told[2]}" in view.get_by_role("status").first.inner_text()
    screenshot(page, "report-notebook-player")
    # another picture, by keyboard: its video instead of the first
    other = view.get_by_role("button", name="truncated-jpeg")
    other.focus()
    page.keyboard.press("Enter")
    view.locator(".embryo-player .ep-title strong", has_text="SAM1-2").wait_for(timeout=180_000)
    assert view.locator(".embryo-player").count() == 1
    page.keyboard.press("Enter")
    view.locator(".embryo-player").wait_for(state="detached")
    # and the name of a video, the worst that was found in it
    name = view.get_by_role("button", name="SAM1-7", exact=True)
    name.click()
    view.locator(".embryo-player .ep-title strong", has_text="SAM1-7").wait_for(timeout=180_000)
    assert name.get_attribute("aria-expanded") == "true"
    assert page.locator(".embryo-player").bounding_box()["y"] < 900  # brought into sight
    screenshot(page, "report-notebook-name")
    assert page_errors(page) == []
