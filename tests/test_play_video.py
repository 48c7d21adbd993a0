"""Test the script `python play_video.py data/extracted AA83-7`."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Shared

from nsw_da_medical_image.validation import experiment
from nsw_da_medical_image.viewer import player

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def data(shared: Callable[..., Shared]) -> Path:
    return shared().extracted


def script(*args: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "play_video.py", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_it_writes_a_page_and_overwrites_nothing(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = script(data, "SAM1-2", "--plane", "F15", "--out", out, "--no-open")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out}: SAM1-2, plane F15, ")
    page = out.read_bytes()
    assert page.startswith(b"<!doctype html>")
    again = script(data, "SAM1-7", "--out", out, "--no-open")
    assert again.returncode == 1
    assert again.stderr == f"error: {out} exists; give another name after --out\n"
    assert out.read_bytes() == page


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (["SAM1-3"], 1, "has no video 'SAM1-3'; nearest: SAM1-"),
        (["SAM1-2", "--plane", "F10"], 2, "'F10' is not a focal plane; choose from F-45"),
        (["SAM1-2", "--fps", "0"], 2, "fps must be between"),
        (
            ["SAM1-2", "--out", "{tmp}/nowhere/page.html"],
            1,
            "the folder to write into does not exist; create it first: ",
        ),
        (["SAM1\n-2"], 1, "has no video "),
    ],
)
@pytest.mark.slow
def test_errors_are_one_line(data: Path, tmp_path: Path, args: list[str], status: int, why: str) -> None:
    done = script(data, *(arg.format(tmp=tmp_path) for arg in args), "--no-open")
    assert done.returncode == status
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_module_does_the_same(data: Path, tmp_path: Path) -> None:
    module, out = "nsw_da_medical_image.viewer.player", tmp_path / "page.html"
    command = [sys.executable, "-m", module, data, "SAM1-2", "--out", out, "--no-open"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert script(data, "SAM1-2", "--out", tmp_path / "same.html", "--no-open").returncode == 0
    assert out.read_bytes() == (tmp_path / "same.html").read_bytes()
    wrong = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, cwd=ROOT, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"usage: python -m {module} ")


def test_each_command_is_called_by_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    for main in player.main, experiment.main:
        with pytest.raises(SystemExit, match="2"):
            main([])
        assert capsys.readouterr().err.split()[:4] == ["usage:", "python", "-m", main.__module__]
    assert script().stderr.startswith("usage: python play_video.py ")


@pytest.mark.slow
def test_wrong_usage_and_no_data(data: Path, tmp_path: Path) -> None:
    assert script("--no-open").returncode == 2
    done = script(tmp_path / "absent", "SAM1-2", "--no-open")
    assert done.returncode == 1
    assert "absent does not exist" in done.stderr


def test_without_a_name_it_lists_the_videos(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert player.main([str(data)]) == 0
    assert capsys.readouterr().out == f"{data}: 3 videos; name one or several to play them\nSAM1-2  SAM1-7  SAM2-4\n"


def test_all_planes_are_in_the_page(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert player.main([str(data), "SAM1-2", "--planes", "all", "--out", str(out), "--no-open"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: SAM1-2, planes F-45, F-30, F-15, F0, F15, F30, F45, ")
    assert '"all_planes": true' in out.read_text().replace('":true', '": true')
    assert player.main([str(data), "SAM1-2", "--planes", "F10,F15", "--no-open"]) == 2
    assert "'F10' is not a focal plane" in capsys.readouterr().err


def test_it_writes_a_film_and_overwrites_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    av = pytest.importorskip("av")
    film = tmp_path / "film.mp4"
    assert player.main([str(data), "SAM1-2", "SAM1-7", "--planes", "F0", "F15", "--mp4", str(film), "--fps", "12"]) == 0
    assert capsys.readouterr().out.startswith(f"{film}: SAM1-2, SAM1-7, planes F0, F15, ")
    with av.open(str(film)) as opened:
        (stream,) = opened.streams.video
        assert (stream.frames, stream.average_rate, stream.width) == (24, 12, 500)
    assert player.main([str(data), "SAM1-2", "--mp4", str(film)]) == 1
    assert capsys.readouterr().err == f"error: {film} exists; give another name after --mp4\n"
    for wrong, why in (["--mp4", "a.mp4"], "name the videos"), (["SAM1-2", "--mp4", "a", "--out", "b"], "not both"):
        assert player.main([str(data), *wrong]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.browser
def test_its_page_plays_from_a_file(browser: Any, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert script(data, "SAM1-2", "SAM1-7", "--out", out, "--no-open", "--fps", "30").returncode == 0
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(out.as_uri())
    page.locator(".embryo-player[data-exact=true][data-held='48']").wait_for()
    assert page.locator(".ep-pane").count() == 2
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelector('.embryo-player').dataset.run) > 10")
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Go to run or hour").fill("19")
    page.keyboard.press("Enter")
    page.locator(".embryo-player[data-run='19'][data-exact=true]").wait_for()
    context.close()
