"""Test the films: their pictures, their time, that a browser plays them, and that no part of one is left behind."""

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Shared

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer import export
from nsw_da_medical_image.viewer.export import film_pictures, film_plan, siblings, to_gif, to_mp4

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def data(shared: Callable[..., Shared]) -> EmbryoDataset:
    return EmbryoDataset(shared(videos=4, frames=40, size=250).extracted)


def pictures_of(film: Path) -> tuple[list[np.ndarray], Fraction]:
    """Return the pictures of a film as uint8 (height, width), and their number per second."""
    av = pytest.importorskip("av")
    with av.open(str(film)) as opened:
        (stream,) = opened.streams.video
        assert stream.codec_context.name == "h264"
        return [frame.to_ndarray(format="gray") for frame in opened.decode(stream)], stream.average_rate


def test_a_film_shows_the_frames_within_the_loss_of_the_codec(data: EmbryoDataset, tmp_path: Path) -> None:
    pytest.importorskip("av")
    video = data["SAM1-2"]
    film = to_mp4(video, tmp_path / "film.mp4", span=(3, 32), fps=12)
    found, rate = pictures_of(film)
    expected = list(film_pictures(video, span=(3, 32)))
    assert (len(found), rate) == (30, 12)
    for run, one, other in zip(range(3, 33), found, expected, strict=True):
        assert one.shape == other.shape
        assert np.array_equal(other[:250], video.frame(run, size=250))
        assert np.abs(one.astype(int) - other).mean() < 2.5
        near = [np.abs(one[:250].astype(int) - video.frame(each, size=250)).mean() for each in (run, run % 32 + 3)]
        assert near[0] <= near[1]


def test_a_film_of_siblings_aligned_by_the_first_division_has_the_right_hours(
    data: EmbryoDataset, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    film = to_mp4(siblings(data["SAM1-2"]), tmp_path / "film.mp4", align="t2", hours_per_second=20, fps=10)
    videos = siblings(data["SAM1-2"])
    assert [video.name for video in videos] == ["SAM1-2", "SAM1-7"]
    plan = film_plan(videos, align="t2", hours_per_second=20, fps=10)
    found, rate = pictures_of(film)
    assert (len(found), rate) == (len(plan.moments), 10)
    assert np.allclose(np.diff(plan.moments), 2)  # of 3.1 hours per run
    for video, shown in zip(videos, plan.videos, strict=True):
        elapsed = video.hours - video.hours[int(video.phases.set_index("phase")["first"]["t2"])]
        for moment, each in zip(plan.moments, shown, strict=True):
            assert each.run is None or each.run == elapsed.index[elapsed <= moment + 1e-6].max()
        different = elapsed.drop_duplicates(keep="last").index  # of two runs with one recorded hour, the later is shown
        assert {each.run for each in shown} >= set(different) & set(video.runs())
    assert found[0].shape == next(film_pictures(videos)).shape == (296, 500)


def test_all_planes_make_a_row_per_video(data: EmbryoDataset, tmp_path: Path) -> None:
    pytest.importorskip("av")
    film = to_mp4(siblings(data["SAM1-2"]), tmp_path / "f.mp4", plane=None, size=100, span=(1, 2), burn=())
    found, _ = pictures_of(film)
    assert found[0].shape == (200, 700)


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_a_disk_without_room_leaves_nothing(data: EmbryoDataset, tmp_path: Path, kind: str) -> None:
    if kind == "mp4":
        pytest.importorskip("av")
    code = f"""
import resource, signal, sys
from nsw_da_medical_image.common.command import run_command
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.export import to_{kind}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
video = EmbryoDataset({data.root!r})["SAM1-2"]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(run_command(lambda: to_{kind}(video, {str(tmp_path / "film")!r}) and None))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (1, f"error: File too large: {tmp_path / 'film'}\n")
    assert list(tmp_path.iterdir()) == []


FULL = """
import sys
from nsw_da_medical_image.common.command import run_command
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer import export
_, data, folder, *kinds = sys.argv
video = EmbryoDataset(data)["SAM1-2"]
writers = {
    "mp4": lambda path: export.to_mp4(video, path),
    "gif": lambda path: export.to_gif(video, path),
    "strip": lambda path: export.to_strip(video, path, runs=[1, 2, 3]),
    "png": lambda path: export.to_png(video, 3, path),
}
for kind in kinds:
    print(run_command(lambda: writers[kind](f"{folder}/{kind}") and None), flush=True)
"""


def test_a_full_disk_gives_one_line_and_leaves_nothing(data: EmbryoDataset, tmp_path: Path) -> None:
    """A disk of 16 kB, in a mount namespace that ends with the command."""
    mount = 'mount -t tmpfs -o size=16k tmpfs "$0" && "$@" && ls -A "$0"'
    (disk := tmp_path / "disk").mkdir()
    for own in ["--mount"], ["--user", "--map-root-user", "--mount"]:
        small = ["unshare", *own, "sh", "-c", mount, str(disk)]
        if (
            shutil.which("unshare")
            and subprocess.run([*small, "true"], capture_output=True, check=False).returncode == 0
        ):
            break
    else:
        pytest.skip("no small disk can be mounted here")
    kinds = [kind for kind in ("mp4", "gif", "strip", "png") if kind != "mp4" or find_spec("av")]
    command = [*small, sys.executable, "-c", FULL, data.root, str(disk), *kinds]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    expected = [f"error: No space left on device: {disk}/{kind}" for kind in kinds]
    assert done.stderr.splitlines() == expected
    assert done.stdout == "1\n" * len(kinds)  # the exit status of each, and no file in the listing


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_an_interrupted_film_leaves_nothing(data: EmbryoDataset, tmp_path: Path, kind: str) -> None:
    if kind == "mp4":
        pytest.importorskip("av")
    code = f"""
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.export import to_{kind}
to_{kind}(EmbryoDataset({data.root!r}).values(), {str(tmp_path / "film")!r}, align="hours", hours_per_second=0.05)
"""
    job = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=ROOT)
    deadline = time.monotonic() + 60
    while not os.listdir(tmp_path):
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    job.send_signal(signal.SIGINT)
    _, error = job.communicate(timeout=60)
    assert b"KeyboardInterrupt" in error
    assert os.listdir(tmp_path) == []


def test_an_existing_file_stays(data: EmbryoDataset, tmp_path: Path) -> None:
    (tmp_path / "film.gif").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        to_gif(data["SAM1-2"], tmp_path / "film.gif", span=(1, 2))
    assert (tmp_path / "film.gif").read_text() == "mine"


def test_without_pyav_one_line_names_the_extra(
    data: EmbryoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(export.DataError, match=r"pip install 'nsw_da_medical_image\[movies\]'"):
        to_mp4(data["SAM1-2"], tmp_path / "film.mp4")
    assert os.listdir(tmp_path) == []


@pytest.mark.browser
def test_a_browser_plays_a_film(browser: Any, data: EmbryoDataset, tmp_path: Path) -> None:
    pytest.importorskip("av")
    video = data["SAM1-2"]
    film = to_mp4(video, tmp_path / "film.mp4", span=(1, 30), fps=10, burn=())
    page = browser.new_page()
    page.set_content("<video muted></video><canvas width=250 height=250></canvas>")
    page.evaluate("(data) => { document.querySelector('video').src = data; }", data_url(film))
    page.wait_for_function("() => document.querySelector('video').readyState >= 3")
    size = page.evaluate(
        "() => { const v = document.querySelector('video'); return [v.videoWidth, v.videoHeight, v.duration]; }"
    )
    assert size == [250, 250, pytest.approx(3.0)]
    page.evaluate("() => document.querySelector('video').play()")
    page.wait_for_function("() => document.querySelector('video').ended")
    grey = page.evaluate(
        """async () => {
            const v = document.querySelector('video'), c = document.querySelector('canvas').getContext('2d');
            await new Promise((done) => { v.onseeked = done; v.currentTime = 1.95; });  // the 20th picture
            c.drawImage(v, 0, 0);
            return [...c.getImageData(0, 0, 250, 250).data].filter((_, i) => i % 4 === 0);
        }"""
    )
    shown = np.array(grey).reshape(250, 250)
    assert np.abs(shown - video.frame(20, size=250)).mean() < 3
    page.close()


def data_url(film: Path) -> str:
    return "data:video/mp4;base64," + base64.b64encode(film.read_bytes()).decode()
