"""Synthetic runs: the command from outside, and what a hostile folder holds."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import Shared
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.synthetic import SyntheticRuns, parse_metadata, write_run
from nsw_da_medical_image.validation.checks import FINDING_COLUMNS, Severity
from nsw_da_medical_image.viewer.compare import compare_sheet

ROOT = Path(__file__).parent.parent
HTML = "<img src=x onerror=alert(1)> an embryo at phase t2"


def jpeg(value: int, side: int = 64) -> bytes:
    pixels = np.random.default_rng(value).integers(0, 255, (side, side), np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A good run under an ugly prompt, and one run for each way to be wrong."""
    folder = tmp_path / "all-synthetic-runs"
    folder.mkdir()
    write_run(folder / "good", [jpeg(0), jpeg(1)], HTML, "t2")
    good = json.loads((folder / "good" / "metadata.json").read_text())
    texts = {
        "no-json": "phase: t7",
        "comma": '{"phase": "t7", "focal-plane": "F+00",}',
        "a-list": "[]",
        "no-phase": json.dumps({**good, "phase": None}),
        "wrong-phase": json.dumps({**good, "phase": "<script>alert(1)</script>"}),
        "wrong-plane": json.dumps({**good, "focal-plane": "F+99"}),
        "deep": "[" * 100_000,
        "binary": "\udcff\udcfe",
    }
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / "img0.jpg").write_bytes(jpeg(2))
        (folder / name / "metadata.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / "nothing").mkdir()
    write_run(folder / "pictures", [jpeg(3), jpeg(4), jpeg(5)], "", "t4")
    (folder / "pictures" / "img1.jpg").write_bytes(jpeg(4)[:300])
    (folder / "pictures" / "img2.jpg").unlink()
    (folder / "pictures" / "img2.jpg").mkdir()
    (folder / "link").symlink_to(folder / "not there")
    (folder / "loop").symlink_to("loop")
    (folder / "notes.txt").write_text("mine")
    return folder


def command(*args: object, module: str = "dataset_util.synthetic") -> subprocess.CompletedProcess[str]:
    full = [sys.executable, "-m", f"nsw_da_medical_image.{module}", *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(full, capture_output=True, text=True, env=env, check=False, timeout=60)


def test_what_is_wrong_is_a_finding_and_the_rest_is_served(hostile: Path) -> None:
    runs = SyntheticRuns(hostile)
    findings = runs.findings()
    errors = findings[findings.severity == "error"]
    assert set(errors.origin) == set(runs) - {"good"}
    assert set(runs.left_out) == set(runs) - {"good", "pictures"}
    assert findings[findings.origin == ""].message.str.contains("notes.txt|link|loop").all()
    served = runs.frames(exclude=findings)
    assert [served.label(i) for i in range(len(served))] == ["F+00_good_0", "F+00_good_1", "F+00_pictures_0"]
    assert [record.phase for record in served] == ["t2", "t2", "t4"]


def test_the_findings_stand_below_those_of_the_validation(hostile: Path) -> None:
    """`dataset_util` does not import the validation, so only a test can hold the two together."""
    findings = SyntheticRuns(hostile).findings()
    assert tuple(findings.columns[: len(FINDING_COLUMNS)]) == FINDING_COLUMNS
    assert set(findings.severity) <= set(Severity)
    assert set(findings.video) == {""}


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["t7", "F+00", "_F-15", "tPna"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["phase", "focal-plane", "prompt", "datetime", "generate-datetime", "seed"]


@settings(max_examples=300, deadline=None)
@given(st.binary() | st.dictionaries(st.sampled_from(KEYS), ANY).map(lambda value: json.dumps(value).encode()))
def test_no_metadata_makes_it_raise(data: bytes) -> None:
    found, faults = parse_metadata(data)
    assert (found is None) == any(fault.severity == "error" for fault in faults)
    assert all(fault.message.count("\n") == 0 for fault in faults)


def test_no_markup_of_a_stranger_reaches_a_page(hostile: Path) -> None:
    runs = SyntheticRuns(hostile)
    page = runs._repr_html_()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img src=x" not in page
    assert "<script" not in page


def test_the_command_lists_all_and_says_so(hostile: Path) -> None:
    done = command(hostile)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "findings are errors" in done.stderr
    assert "Traceback" not in done.stdout
    assert "no-json: metadata.json is not JSON (line 1: Expecting value)" in done.stdout
    rows = json.loads(command(hostile, "--json").stdout)
    assert {row["origin"] for row in rows if row["severity"] == "error"} == set(SyntheticRuns(hostile)) - {"good"}


def test_the_command_without_faults_and_without_a_folder(tmp_path: Path) -> None:
    write_run(tmp_path / "run1", [jpeg(0)], "", "tB", "F+15")
    done = command(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run1: tB F15, 1 images" in done.stdout
    for wrong in tmp_path / "no", tmp_path / "run1", tmp_path / "run1" / "img0.jpg":
        done = command(wrong)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_names_that_are_no_text_are_findings(tmp_path: Path) -> None:
    """Tables hold text alone: such a run is left out and named, and such a file only named."""
    runs = tmp_path / "runs"
    runs.mkdir()
    write_run(runs / "good", [jpeg(0)], "", "t2")
    for name in os.fsdecode(b"run\xff"), os.fsdecode(b".hidden\xff"):
        try:
            write_run(runs / name, [jpeg(1)], "", "t2")
        except OSError:
            pytest.skip("this file system takes no such name")
    for place in runs, runs / "good":
        (place / os.fsdecode(b"file\xff")).touch()

    opened = SyntheticRuns(runs)
    assert list(opened) == ["good"]
    assert opened.table().origin.tolist() == ["good"]
    findings = opened.findings()
    assert findings[["check", "severity", "message"]].to_numpy().tolist() == [
        ["synthetic-name", "error", r"run\udcff has a name that is not UTF-8, so it is left out"],
        ["synthetic-stray", "info", r"file\udcff lies among the runs and belongs to none of them"],
        ["synthetic-stray", "info", r"good: file\udcff is no image of the form img0.jpg and no metadata.json"],
    ]
    assert len(opened.frames(exclude=findings)) == 1
    done = command(runs)
    assert done.returncode == 1
    assert r"error: run\udcff has a name that is not UTF-8, so it is left out; rename the folder" in done.stdout
    assert done.stderr == "error: 1 findings are errors; they are listed above\n"


def test_ctrl_c_ends_the_command_in_one_line(tmp_path: Path) -> None:
    """A pipe in the place of the metadata: once it can be opened for writing, the command waits for its end."""
    (tmp_path / "run1").mkdir()
    pipe = tmp_path / "run1" / "metadata.json"
    os.mkfifo(pipe)
    full = [sys.executable, "-m", "nsw_da_medical_image.dataset_util.synthetic", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(full, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    writer = None
    try:
        deadline = time.monotonic() + 60
        while writer is None:
            assert process.poll() is None, "it ended before it read the metadata"
            assert time.monotonic() < deadline, "it did not come to the metadata"
            with suppress(OSError):
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=60)
    finally:
        process.kill()
        if writer is not None:
            os.close(writer)
    assert (process.returncode, told, said) == (130, "", "stopped; not all runs were looked at\n")


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "I;16B"])
def test_no_picture_is_clipped_in_silence(tmp_path: Path, mode: str) -> None:
    """More than 8 bits: what the array would have been refused for."""
    with pytest.raises(
        ValueError, match=f"image 1 cannot be written: a Pillow image of mode {mode}; scale it to 0-255"
    ):
        write_run(tmp_path / "run", [jpeg(0), Image.new(mode, (16, 16))], "", "t2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_the_metadata_are_json(tmp_path: Path, number: float) -> None:
    """Python writes NaN and Infinity, and other readers stop at them; nothing is generated before that is known."""
    images = iter([jpeg(0)])
    with pytest.raises(ValueError, match=r"more holds what JSON cannot: .*not JSON compliant"):
        write_run(tmp_path / "run", images, "", "t2", more={"losses": [0.5, number]})
    assert len(list(images)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def data(shared: Callable[..., Shared]) -> Path:
    return shared().extracted


def test_other_commands_use_what_is_sound_and_say_so(data: Path, hostile: Path, tmp_path: Path) -> None:
    done = command(data, tmp_path / "out", "--phases", "t2", "--synthetic", hostile, module="dataset_util.image_folder")
    assert done.returncode == 0
    assert done.stderr.startswith("note: 12 findings are errors, and what they speak of is left out; python -m ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "out" / "metadata.csv").read_text().count("F+00_good_") == 2

    page = tmp_path / "page.html"
    done = command(data, hostile, "--out", page, module="viewer.compare")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{page}: ")
    text = page.read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text
    assert "<script" not in text


def test_a_name_is_no_formula(data: Path, tmp_path: Path) -> None:
    r"""Matplotlib takes what stands between dollar signs for TeX, and refuses a \frac of nothing."""
    write_run(tmp_path / r"a$\frac$b", [jpeg(0)], "", "t2")
    figure = compare_sheet(EmbryoDataset(data).frames(planes="F0", phases="t2"), SyntheticRuns(tmp_path).frames())
    figure.savefig(buffer := io.BytesIO(), format="svg", metadata={"Date": None})
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any(r"a$\frac$b" in text for text in texts)
    assert buffer.getvalue()


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["{data}", "{runs}", "--out", "{taken}"], "exists already"),
        (["{data}", "{runs}", "--out", "{new}", "--names", "god"], "has no synthetic run 'god'; nearest: good"),
        (
            ["{data}", "{runs}", "--out", "{new}", "--names", "no-json"],
            "there is no synthetic frame to compare: 12 findings are errors",
        ),
        (
            ["{data}", "{runs}", "--out", "{new}", "--videos", "SAM1-3"],
            "has no video 'SAM1-3'; nearest: SAM1-7, SAM1-2",
        ),
        (["{data}", "{data}", "--out", "{new}"], "there is no synthetic frame to compare: "),
        (["{runs}", "{runs}", "--out", "{new}"], "is not a data set"),
    ],
)
def test_the_comparison_refuses_in_one_line(
    data: Path, hostile: Path, tmp_path: Path, args: list[str], why: str
) -> None:
    (tmp_path / "taken.html").write_text("mine")
    places = {"data": data, "runs": hostile, "new": tmp_path / "new.html", "taken": tmp_path / "taken.html"}
    done = command(*(arg.format(**places) for arg in args), module="viewer.compare")
    assert done.returncode == 1
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new.html").exists()
    assert (tmp_path / "taken.html").read_text() == "mine"
