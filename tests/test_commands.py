"""Test what all commands share: one line per error, signals that leave nothing behind, names that do no harm."""

import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.synthetic import write_batch

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "nsw_da_medical_image"
MODULES = {
    "sample": f"{PACKAGE}.dataset_util.sample",
    "extract_dataset": f"{PACKAGE}.dataset_util.extract_dataset",
    "dataset": f"{PACKAGE}.dataset_util.dataset",
    "extract_part": f"{PACKAGE}.dataset_util.extract_part",
    "split": f"{PACKAGE}.dataset_util.split",
    "synthetic": f"{PACKAGE}.dataset_util.synthetic",
    "image_folder": f"{PACKAGE}.dataset_util.image_folder",
    "clock": f"{PACKAGE}.validation.clock",
    "validate": f"{PACKAGE}.validation.validate",
    "compare": f"{PACKAGE}.viewer.realism",
    "experiment_1": "experiment_1",
    "play_video": "play_video",
}
EVIL = "A\x1b[31m\u202e$B$\n<img onerror=x>'\"-1"  # an escape sequence, right to left, mathtext, a line feed, markup
FORMULA = "=cmd|' & calc'!A0-1"


#: One process after the other takes long: the fast lane looks at some commands.
SOME = [name if name == "dataset" else pytest.param(name, marks=pytest.mark.slow) for name in MODULES]


def module(name: str) -> ModuleType:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(MODULES[name])


def shell(name: str) -> list[str]:
    """Return the command as a user types it."""
    return [sys.executable, *(["-m", MODULES[name]] if "." in MODULES[name] else [str(ROOT / f"{name}.py")])]


def rename(tree: Path, old: str, new: str | bytes) -> None:
    """Give a video another name in all places."""
    name = os.fsdecode(new)
    for folder in tree.iterdir():
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name == old or path.name.startswith(f"{old}_"):
                path.rename(path.with_name(path.name.replace(old, name)))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return archives, the extracted data set, and a batch of synthetic images."""
    top = tmp_path_factory.mktemp("commands")
    make_archives(top / "archives", videos=4, frames=24, size=96)
    extract_dataset(top / "archives", top / "data")
    (top / "runs").mkdir()
    frames = EmbryoDataset(top / "data").frames("SAM1-2", "F0", as_="numpy")
    write_batch(top / "runs" / "one", [frames[i].image for i in range(12)], "a photo", "t2", "F0")
    return top


@pytest.fixture(scope="module")
def hostile(work: Path) -> Path:
    """Return the same with names that attack a terminal, a page, a figure and a spreadsheet."""
    top = work / "hostile\x1b[2J"
    shutil.copytree(work / "data", top / "data")
    shutil.copytree(work / "runs", top / "runs")
    rename(top / "data", "SAM1-2", EVIL)
    rename(top / "data", "SAM1-7", FORMULA)
    (top / "runs" / "one").rename(top / "runs" / EVIL)
    return top


def harmless(text: str) -> bool:
    return all(c.isprintable() or c in "\n\t" for c in text)


def arguments(name: str, top: Path, out: Path) -> list[str]:
    """Return arguments with which the command works for a while and, if it writes, writes to `out`."""
    data, runs = str(top / "data"), str(top / "runs")
    return {
        "sample": [str(out), "--videos", "3", "--frames", "6", "--size", "64"],
        "extract_dataset": [str(top / "archives"), str(out)],
        "dataset": [data, "--table", str(out.with_suffix(".csv"))],
        "extract_part": [data, str(out)],
        "split": [data, "--out", str(out), "--weights", "1,1,1"],
        "synthetic": [runs],
        "image_folder": [data, str(out), "--planes", "F0", "--tolerant"],
        "clock": [data, "--out", str(out)],
        "validate": [data, "--pixels", "--workers", "2", "--html", str(out), "--csv", f"{out}.csv"],
        "compare": [data, runs, "--out", str(out)],
        "experiment_1": [data, "--out", str(out), "--frames", "1"],
        "play_video": [data, "SAM1-2,SAM1-7", "--out", str(out), "--no-open"],
    }[name]


def run(name: str, argv: list[str]) -> int:
    """Run a command in this process, and return its exit status."""
    try:
        return module(name).main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


# --- signals -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Restore the default signals: in the background or under nohup, pytest inherits ignored ones."""
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def strike(blow: signal.Signals, at: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function like `real` that sends the signal when it is called for the `at`-th time."""
    calls = 0

    def struck(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), blow)
        return real(*args, **options)

    return struck


#: What each command calls again and again, and how often at least.
TARGETS = {
    "sample": (f"{MODULES['sample']}._write_tables", 3),
    "extract_dataset": (f"{MODULES['extract_dataset']}._await", 5),
    "dataset": ("nsw_da_medical_image.dataset_util.contents.Contents.listing", 8),
    "extract_part": (f"{MODULES['extract_part']}._copy", 8),
    "split": ("nsw_da_medical_image.dataset_util.contents.Contents.listing", 4),
    "synthetic": (f"{MODULES['synthetic']}._look", 12),
    "image_folder": (f"{MODULES['image_folder']}._write_image", 40),
    "clock": (f"{MODULES['clock']}.propose_clock", 3),
    "validate": (f"{MODULES['validate']}.read_video", 3),
    "compare": (f"{MODULES['compare']}.compare", 1),
    "experiment_1": (f"{PACKAGE}.validation.experiment.make_image_folder", 1),
    "play_video": ("nsw_da_medical_image.viewer.player.read_frame", 20),
}


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("name", MODULES)
def test_a_signal_leaves_nothing_behind(
    work: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, name: str, blow: signal.Signals
) -> None:
    command = module(name)
    target, most = TARGETS[name]
    owner, _, attribute = target.rpartition(".")
    place: Any = importlib.import_module(owner) if owner in sys.modules else None
    if place is None:
        inner, _, kind = owner.rpartition(".")
        place = getattr(importlib.import_module(inner), kind)
    at = random.Random(f"{name} {blow}").randint(1, most)
    monkeypatch.setattr(place, attribute, strike(blow, at, getattr(place, attribute)))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    assert command.main(arguments(name, work, tmp_path / "out")) == 128 + blow
    told = capsys.readouterr()
    assert re.fullmatch(r"stopped; [^\n]+\n", told.err)
    assert told.out == "" or name == "experiment_1"  # which tells of its steps
    left = [
        path for path in tmp_path.iterdir() if not path.name.endswith(".extracting")
    ]  # which the next run continues
    assert left == []
    assert handlers == {number: signal.getsignal(number) for number in handlers}


def children_of(pid: int) -> list[int]:
    psutil = pytest.importorskip("psutil")
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    psutil = pytest.importorskip("psutil")
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_processes_of_the_validation_end_with_it(tmp_path: Path, blow: signal.Signals) -> None:
    """Only the command gets the signal, as from a batch system, while its processes measure."""
    make_archives(tmp_path / "archives", videos=9, frames=60, size=128)
    extract_dataset(tmp_path / "archives", tmp_path / "data")
    (tmp_path / "new").mkdir()
    out = tmp_path / "new" / "report.html"
    argv = [*shell("validate"), str(tmp_path / "data"), "--pixels", "--workers", "2", "--html", str(out)]
    restore = "import os, signal, sys; [signal.signal(s, signal.SIG_DFL) for s in (1, 2)]; os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", restore, *argv], stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    )
    try:
        children = until(lambda: found if len(found := children_of(process.pid)) >= 3 else None)  # and a tracker
        until(lambda: list((tmp_path / "new").iterdir()))
        process.send_signal(blow)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    until(lambda: not any(map(alive, children)), 30)
    if blow != signal.SIGKILL:
        assert (process.returncode, said) == (128 + blow, "stopped; no report was written\n")
        assert list((tmp_path / "new").iterdir()) == []
    assert not out.exists()


def test_ctrl_c_is_ignored_where_the_caller_ignores_it() -> None:
    """Under nohup or in the background of a script, the signal would stop a job of hours."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from nsw_da_medical_image.common.command import run_command\n"
        "sys.exit(run_command(lambda: [os.kill(os.getpid(), s) for s in (signal.SIGINT, signal.SIGHUP)] and 7))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")


# --- output ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("name", SOME)
def test_a_full_standard_output_is_one_line(work: Path, tmp_path: Path, name: str) -> None:
    if name == "experiment_1":
        pytest.skip("it tells of its first step before the work is done, and stops there")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*shell(name), *arguments(name, work, tmp_path / "out")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith("note: ")] == [
        "error: the work is done, but its summary cannot be written to standard output (the disk is full)"
    ]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.slow
def test_help_and_errors_in_an_ascii_locale(tmp_path: Path, name: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    for encoding in {}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "ascii:strict"}:
        for argv in ["--help"], ["dätä \u80da", "--nö"], ["nöwhere", *arguments(name, tmp_path, tmp_path / "öut")[1:]]:
            if name == "sample" and argv[0] == "nöwhere":
                continue
            done = subprocess.run(
                [*shell(name), *argv],
                env={**environment, **encoding},
                cwd=tmp_path,
                capture_output=True,
                timeout=60,
                check=False,
                text=True,
                encoding="ascii",
            )
            assert done.returncode in (0, 1, 2), done.stderr
            assert "Traceback" not in done.stderr, done.stderr
            assert bool(done.stdout) == (argv == ["--help"])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_an_ascii_locale_changes_nothing(work: Path, tmp_path: Path, name: str) -> None:
    """The folder and the video have names that are not ASCII; the results are the same."""
    top = tmp_path / "dätä \u80da"
    for part in "data", "runs", "archives":
        shutil.copytree(work / part, top / part)
    rename(top / "data", "SAM1-2", "SÄM\u80da-2")
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "NSW_CACHE_DIR": str(tmp_path),
    }
    argv = [text.replace("SAM1-2", "SÄM\u80da-2") for text in arguments(name, top, top / "nëw")]
    command = [*shell(name), *(part.encode() for part in argv)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False)
    said = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert done.returncode in ((0, 1) if name == "validate" else (0,)), said
    assert "UTF-8" not in said[1]
    assert "Traceback" not in said[1]


@pytest.mark.parametrize("name", MODULES)
def test_names_harm_no_terminal(hostile: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    if name in ("sample", "extract_dataset"):
        argv = [str(hostile / "nowhere\x1b" / EVIL.replace("/", "")), str(tmp_path / "out"), "--x\u202e"][
            : 1 + (name != "sample")
        ]
        if name == "sample":
            argv = [str(hostile / "data")]
    else:
        argv = arguments(name, hostile, tmp_path / "o\x1but")
        if name == "play_video":
            argv[1] = EVIL
    status = run(name, argv)
    told = capsys.readouterr()
    assert harmless(told.out)
    assert harmless(told.err)
    assert status in (0, 1)
    assert told.out or told.err
    for wrong in ["--x\x1b[31m\u202e\n"], [EVIL, EVIL, EVIL], ["--planes", "\x1b"], ["--workers", "\x1b"]:
        run(name, [str(hostile / "data"), *wrong])
        told = capsys.readouterr()
        assert harmless(told.out + told.err)


def test_names_harm_no_terminal_in_an_interactive_session(hostile: Path) -> None:
    ds = EmbryoDataset(hostile / "data")
    assert harmless(repr(ds))
    assert harmless(repr(ds[EVIL]))
    with pytest.raises(KeyError) as unknown:
        ds["\x1b[31m"]
    assert harmless(str(unknown.value))
    for shown in ds._repr_html_(), ds[EVIL]._repr_html_():
        assert harmless(shown)
        assert "<img onerror" not in shown


# --- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lists", [["SAM1-2,SAM1-7", "F-15,F0"], ["SAM1-2 SAM1-7", "-15 F0"], ["SAM1-2, SAM1-7", "-15,F0"]]
)
def test_lists_take_commas_and_spaces(work: Path, tmp_path: Path, capsys: Any, lists: list[str]) -> None:
    data = str(work / "data")
    videos, planes = (text.split() for text in lists)
    some = ["--videos", *videos, "--planes", *planes]
    assert run("dataset", [data, "--table", str(tmp_path / "t.csv"), *some, "--phases", "t2,t3", "t4"]) == 0
    table = pd.read_csv(tmp_path / "t.csv")
    assert {name[:10] for name in table["identifier"]} == {"F-15_SAM1-", "F+00_SAM1-"}
    assert set(table["phase"]) <= {"t2", "t3", "t4"}
    assert run("extract_part", [data, str(tmp_path / "part"), *some]) == 0
    assert EmbryoDataset(tmp_path / "part").videos == ("SAM1-2", "SAM1-7")
    assert [str(plane) for plane in EmbryoDataset(tmp_path / "part").planes] == ["F-15", "F0"]
    assert run("image_folder", [*some, "--phases", "t2", "t4,t3", "--tolerant", data, str(tmp_path / "images")]) == 0
    assert run("validate", ["--checks", "run-gap,", "truncated-jpeg", data]) == 0
    assert (
        run("compare", [data, str(work / "runs"), "--videos", *videos, "--names", "one,", "--out", str(tmp_path / "c")])
        == 0
    )
    assert run("play_video", [data, *videos, "--out", str(tmp_path / "p"), "--no-open"]) == 0
    assert run("split", [data, "--weights", "1", "1,", "1", "--out", str(tmp_path / "s")]) == 0
    assert run(
        "sample", [str(tmp_path / "q"), "--videos", "2", "--frames", "4", "--size", "64", "--quirk", "pax,run-gap"]
    ) in (0, 2)


def test_all_means_all_of_a_part(work: Path, tmp_path: Path, capsys: Any) -> None:
    data = str(work / "data")
    assert run("extract_part", [data, str(tmp_path / "all"), "--videos", "all", "--planes", "all"]) == 0
    whole, part = EmbryoDataset(data), EmbryoDataset(tmp_path / "all")
    assert (part.videos, part.planes) == (whole.videos, whole.planes)
    assert whole.extract("SAM1-2", ["all"], to=tmp_path / "one").planes == whole.planes
    capsys.readouterr()
    for wrong in ["--videos", "all", "SAM1-2"], ["--planes", "F0,all"]:
        assert run("extract_part", [data, str(tmp_path / "no"), *wrong]) == 2
        assert capsys.readouterr().err == "error: 'all' includes all others; give it alone\n"
    assert not (tmp_path / "no").exists()


# --- tables ------------------------------------------------------------------------------------------------------------


def test_no_cell_is_a_formula_and_names_come_back(hostile: Path, tmp_path: Path, capsys: Any) -> None:
    data = str(hostile / "data")
    assert run("dataset", [data, "--table", str(tmp_path / "t.csv")]) == 0
    assert run("validate", [data, "--csv", str(tmp_path / "v.csv")]) == 1
    cells = [
        cell
        for name in "tv"
        for row in pd.read_csv(tmp_path / f"{name}.csv", dtype=str, keep_default_na=False).to_numpy()
        for cell in row
    ]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    assert f"'{FORMULA.rpartition('-')[0]}" in cells
    assert f"'{FORMULA}" in cells
    for written in FORMULA, f"'{FORMULA}":
        pd.DataFrame({"video": [written]}).to_csv(tmp_path / "exclude.csv", index=False)
        table = EmbryoDataset(data).table(exclude=tmp_path / "exclude.csv")
        assert len(table)
        assert FORMULA not in set(table["video"])


@pytest.mark.parametrize(
    ("name", "work_of"),
    [
        ("dataset", "write_ground_truth"),
        ("split", "make_split"),
        ("synthetic", "adopt_batch"),
        ("compare", "comparison_page"),
        ("experiment_1", "run_experiment"),
    ],
)
def test_a_value_that_cannot_be_meant_is_wrong_usage(
    work: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, name: str, work_of: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("'F99' is not a focal plane")

    place = importlib.import_module(f"{PACKAGE}.validation.experiment") if name == "experiment_1" else module(name)
    monkeypatch.setattr(place, work_of, refuse)
    argv = arguments(name, work, tmp_path / "out")
    if name == "synthetic":
        argv = [str(tmp_path / "runs"), "--adopt", str(work / "runs" / "one"), "--phase", "t4"]
    assert run(name, argv) == 2
    assert capsys.readouterr().err == "error: 'F99' is not a focal plane\n"
    assert not list(tmp_path.iterdir())


# --- names that are not UTF-8 --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_name_that_is_not_utf8_costs_only_its_video(work: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(work / "data", tmp_path / "data")
    shutil.copytree(work / "runs", tmp_path / "runs")
    rename(tmp_path / "data", "SAM1-7", b"S\xc4M-7")
    shutil.copytree(tmp_path / "runs" / "one", tmp_path / "runs" / os.fsdecode(b"\xff"))
    data = EmbryoDataset(tmp_path / "data")
    with pytest.warns(UserWarning, match=r"not UTF-8: S\\udcc4M-7; rename it") as told:
        table = data.table()
    assert len(told) == 1
    assert set(table["video"]) == {"SAM1-2", "SAM2-4", *data.videos} - {os.fsdecode(b"S\xc4M-7")}
    assert len(data.frames(planes="F0"))
    for name in "dataset", "validate", "split", "image_folder", "compare", "experiment_1", "extract_part":
        argv = arguments(name, tmp_path, tmp_path / name)
        status = run(name, argv)
        said = capsys.readouterr()
        lines = said.err.splitlines()
        assert len([line for line in lines if r"not UTF-8: S\udcc4M-7; rename it" in line and "warning: " in line]) == 1
        assert "Traceback" not in said.err
        assert status == (1 if name == "validate" else 0), said.err
    assert run("dataset", [str(tmp_path / "data")]) == 1
    assert r"problem  a video is left out, because its name is not UTF-8: S\udcc4M-7" in capsys.readouterr().out
    assert run("validate", [str(tmp_path / "data")]) == 1
    assert "unreadable-entry" in capsys.readouterr().out
    assert run("synthetic", [str(tmp_path / "runs")]) == 1
    said = capsys.readouterr()
    assert said.err.count("warning: ") == 1
    assert r"\udcff" in said.err


# --- warnings and memory -----------------------------------------------------------------------------------------------


def test_warnings_are_lines_even_if_they_were_to_be_errors(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "data", tmp_path / "data")
    rename(tmp_path / "data", "SAM1-7", b"S\xc4M-7")
    argv = [sys.executable, "-W", "error", *shell("dataset")[1:], str(tmp_path / "data")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["warning", "error"]


# --- figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["A$B$-1", "A$\\frac{-1", "A$\\frac{$-1", EVIL])
@pytest.mark.slow
def test_dollar_signs_are_drawn(work: Path, tmp_path: Path, name: str) -> None:
    """Draw every figure with a video whose name looks like an invalid formula."""
    from nsw_da_medical_image.common.findings import findings_table
    from nsw_da_medical_image.validation.pixels import measure_video, plot_measurements
    from nsw_da_medical_image.validation.validate import validate
    from nsw_da_medical_image.viewer.plots import contact_sheet, focal_stack, phase_raster
    from nsw_da_medical_image.viewer.realism import compare_sheet

    shutil.copytree(work / "data", tmp_path / "data")
    rename(tmp_path / "data", "SAM1-2", name)
    os.unlink(next((tmp_path / "data" / "embryo_dataset_annotations").glob("SAM1-7*")))
    ds = EmbryoDataset(tmp_path / "data")
    video = ds[name]
    run_number = int(video.runs("F0")[0])
    figures = [contact_sheet(video), focal_stack(video, run_number), phase_raster(ds), phase_raster(ds, by="hours")]
    frames = ds.frames(planes="F0", phases=list(video.phases["phase"]))
    figures.append(compare_sheet(frames, frames))
    figures.append(plot_measurements(measure_video(ds, name, ["F0"]), findings_table([])))
    report = validate(ds)
    figures.append(plot_measurements(measure_video(ds, name, ["F0"]), report.findings))
    for axes in figures:
        assert axes._repr_png_().startswith(b"\x89PNG")
    texts = [text for axes in figures for text in axes.figure.findobj(lambda each: hasattr(each, "get_parse_math"))]
    drawn = [text for text in texts if "$" in text.get_text()]
    assert len(drawn) >= len(figures) - 1  # that of the comparison shows no name of a video in a title
    assert not any(text.get_parse_math() for text in drawn)


# --- pages -------------------------------------------------------------------------------------------------------------


class Scripts(HTMLParser):
    """What a page would run, and its policy."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.policy = ""
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.events += [name for name in given if name.startswith("on")]
        self.scripts += tag == "script" and given.get("type") != "application/json"
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""


@pytest.fixture(scope="module")
def pages(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return each page that the library writes for a data set with hostile names and a lost frame."""
    made = tmp_path_factory.mktemp("pages")
    shutil.copytree(hostile / "data", made / "data")
    shutil.copytree(hostile / "runs", made / "runs")
    (made / "new").mkdir()
    data = str(made / "data")
    lost = sorted((made / "data" / "embryo_dataset" / EVIL).iterdir())[3]
    lost.chmod(0)
    lost.unlink()
    lost.symlink_to("/nowhere/secret.jpeg")
    table = str(made / "data" / "embryo_dataset_annotations" / f"{FORMULA}_phases.csv")
    Path(table).write_text("</script><script>document.title = 'hacked'</script>,1,2\n")
    play, check, compare, experiment = (
        module(name).main for name in ("play_video", "validate", "compare", "experiment_1")
    )
    assert play([data, EVIL, "SAM2-4", "--out", str(made / "new" / "player.html"), "--no-open"]) == 0
    assert check([data, "--pixels", "--html", str(made / "new" / "validation.html")]) == 1
    exclude = made / "exclude.csv"
    exclude.write_text(f'video,plane,runs\n"{FORMULA}",,\n"{EVIL.replace(chr(34), chr(34) * 2)}",,\n')
    chosen = ["--out", str(made / "new" / "comparison.html"), "--videos", "SAM2-4", "--exclude", str(exclude)]
    assert compare([data, str(made / "runs"), *chosen]) == 0
    make_archives(made / "archives", videos=9, frames=24, size=96)
    extract_dataset(made / "archives", made / "plain")
    assert experiment([str(made / "plain"), "--out", str(made / "experiment"), "--frames", "1"]) == 0
    found = {path.stem: path for path in (made / "new").iterdir()}
    return {**found, "experiment": made / "experiment" / "index.html"}


PAGES = ["player", "validation", "comparison", "experiment"]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.slow
def test_pages_run_nothing_of_others_and_name_no_folder(pages: dict[str, Path], name: str) -> None:
    text = pages[name].read_text(encoding="utf-8")
    assert harmless(text)
    assert str(pages["player"].parent.parent) not in text
    assert "/tmp/" not in text
    assert os.path.expanduser("~/") not in text
    found = Scripts()
    found.feed(text)
    assert found.events == []
    assert found.scripts == (1 if name == "player" else 0)
    rules = dict(rule.strip().split(" ", 1) for rule in found.policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    assert rules.get("script-src", "'sha256-").startswith("'sha256-")
    assert "unsafe-inline" not in rules.get("script-src", "")


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_pages_work_under_their_policy(browser: Any, pages: dict[str, Path], name: str) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(pages[name].as_uri())
    if name == "player":
        player = page.locator(".embryo-player[data-exact=true]")
        player.wait_for()
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("() => Number(document.querySelector('.embryo-player').dataset.run) > 5")
        page.get_by_role("button", name="Pause").click()
        page.locator("button.ep-plane").first.click()
        page.get_by_role("button", name="Help").click()
        page.get_by_label("Go to run or hour").fill("12")
        page.keyboard.press("Enter")
        page.locator(".embryo-player[data-run='12']").wait_for()
    elif name == "validation":
        page.locator("details.nr-group summary").first.click()
        page.locator("details.nr-group[open] table").first.wait_for()
        assert page.locator(".nr-picture img").first.evaluate("image => image.naturalWidth") > 0
    else:
        assert page.locator("img").first.evaluate("image => image.naturalWidth") > 0
    assert page.locator("h1, .embryo-player").first.evaluate("node => getComputedStyle(node).fontFamily")
    assert "hacked" not in page.title()
    assert said == []
    # what somebody smuggles in does not run
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"document.title = 1\">')")
    page.evaluate("() => new Promise(done => setTimeout(done, 0))")
    assert page.title() != "1"
    context.close()


def test_json_in_a_page_ends_no_script() -> None:
    from nsw_da_medical_image.common.html import script_json

    value = {"</script><!--": "\u2028\x00\x1b'\""}
    text = script_json(value)
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == value


# --- other annotations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["dataset", "extract_part", "split", "image_folder", "validate", "compare", "clock", "experiment_1", "play_video"],
)
def test_a_folder_of_annotations_that_does_not_exist_is_refused(
    work: Path, tmp_path: Path, capsys: Any, name: str
) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert run(name, [*arguments(name, work, tmp_path / "out"), "--annotations", nowhere]) == 1
    assert f"{nowhere} does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_command_reads_other_annotations(work: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "SAM1-2_phases.csv").write_text("t4,5,9\n")
    table = tmp_path / "table.csv"
    options = ["--table", str(table), "--videos", "SAM1-2", "--planes", "F0"]
    assert run("dataset", [str(work / "data"), *options, "--annotations", str(tmp_path / "own")]) == 0
    rows = pd.read_csv(table)
    assert rows["identifier"].str.rpartition("_")[2].astype(int).tolist() == [5, 6, 7, 8, 9]
    assert rows["phase"].unique().tolist() == ["t4"]
    assert rows["labels"].unique().tolist() == [str(tmp_path / "own")]
    capsys.readouterr()
    part = tmp_path / "part"
    assert (
        run("extract_part", [str(work / "data"), str(part), "--planes", "F0", "--annotations", str(tmp_path / "own")])
        == 0
    )
    assert f"1 annotation from {tmp_path / 'own'} in {part / 'annotations'}" in capsys.readouterr().out
    assert run("dataset", [str(part), *options[2:], "--table", str(tmp_path / "published.csv")]) == 0
    assert pd.read_csv(tmp_path / "published.csv").columns[-1] == "code"  # without --annotations
