"""Test README.md: its commands print what it shows, its links work, its picture shows sample data."""

import difflib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

# Output that varies between machines or versions of libraries.
VARIES = [
    (r"/\S*/(?=sample-data\b)", "/.../"),
    (r"\d+\.\d s in \d+ processes", "# s in # processes"),
    (r"\d[\d,.]* MB", "# MB"),
    (r" +\d[\d,]* bytes", " # bytes"),
]


def masked(text: str) -> list[str]:
    for pattern, mask in VARIES:
        text = re.sub(pattern, mask, text)
    return text.rstrip("\n").splitlines()


def steps(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the commands of a README in order, each with the output shown below it."""
    block = re.compile(
        r"^```console\n(?P<console>.*?)^```$|^```python\n(?P<code>.*?)^```\n+```text\n(?P<shown>.*?)^```$", re.M | re.S
    )
    for found in block.finditer(text):
        if found["code"] is not None:
            yield [sys.executable, "-c", found["code"]], found["shown"]
            continue
        for part in re.split(r"^\$ ", found["console"], flags=re.M)[1:]:
            command, _, shown = part.partition("\n")
            program, *arguments = shlex.split(command)
            assert program == "python", f"$ {command}: only commands that begin with python are run here"
            yield [sys.executable, *arguments], shown


def differences(text: str, folder: Path) -> list[str]:
    """Run the commands of a README in `folder`, and return lines '- shown' and '+ printed' for each difference."""
    found = []
    for command, shown in steps(text):
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
        lines = difflib.ndiff(masked(shown), masked(done.stdout))
        found += [line for line in lines if line.startswith(("-", "+"))]
    return found


@pytest.mark.slow
def test_readme_shows_what_its_commands_print(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    assert len(list(steps(text))) >= 4
    assert sum(line.startswith("$ ") for line in text.splitlines()) == text.count("```console") == 6
    assert differences(text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```console\n$ python -c 'print(3, 4)'\n3 4\n```\n", []),
        ("```console\n$ python -c 'print(3, 4)'\n3 5\n```\n", ["- 3 5", "+ 3 4"]),
        ("```console\n$ python -c 'print(3)'\n```\n", ["+ 3"]),
        ("```console\n$ python -c ''\n3\n```\n", ["- 3"]),
        ("```python\nprint('0.3 s in 2 processes')\n```\n\n```text\n9.1 s in 8 processes\n```\n", []),
        ("```python\nprint('3 videos')\n```\n\n```text\n4 videos\n```\n", ["- 4 videos", "+ 3 videos"]),
    ],
)
def test_a_readme_that_is_wrong_is_found(text: str, found: list[str], tmp_path: Path) -> None:
    assert differences(text, tmp_path) == found


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        differences("```console\n$ python -c '1/0'\n```\n", tmp_path)


def test_links_lead_to_files() -> None:
    text = README.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert "/blob/" not in text  # a link to a branch leads out of a fork or a release


def test_every_notebook_of_the_library_is_told() -> None:
    text = README.read_text(encoding="utf-8")
    notebooks = [p.relative_to(ROOT).as_posix() for p in ROOT.glob("nbs/*/[0-9]*.ipynb")]
    assert len(notebooks) >= 6
    assert [path for path in [*notebooks, "nbs/yolo.ipynb"] if f"]({path})" not in text] == []


def test_every_extra_is_described() -> None:
    text = README.read_text(encoding="utf-8")
    extras = re.findall(r"^(\w+)_requirements = ", (ROOT / "settings.ini").read_text(encoding="utf-8"), re.M)
    assert len(extras) >= 6
    assert [extra for extra in (*extras, "all") if f"| `{extra}` | " not in text] == []


def test_start_has_two_short_lines() -> None:
    """.ci/run runs the second one, so that it does what the README promises."""
    lines = README.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("python3 start.py")] == [
        "python3 start.py",
        "python3 start.py test",
    ]
    assert "grep -xF 'python3 start.py test' README.md" in (ROOT / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            [],
            """\
$ python3 -m venv .venv
$ .venv/bin/python -m pip install --quiet --editable .
$ .venv/bin/python -m nsw_da_medical_image.dataset_util.sample sample-data/archives
$ .venv/bin/python -m nsw_da_medical_image.dataset_util.extract_dataset sample-data/archives sample-data/extracted
$ .venv/bin/python -m nsw_da_medical_image.dataset_util.dataset sample-data/extracted
""",
        ),
        (
            ["test"],
            """\
$ python3 -m venv .venv
$ .venv/bin/python -m pip install --quiet --editable '.[dev]'
$ .venv/bin/python .ci/check.py sync unadded clean private
$ .venv/bin/nbdev_test --flags slow
$ .venv/bin/python -m pytest -m 'slow and not browser' -k 'not test_s'
$ .venv/bin/python -m pytest -m browser
$ .venv/bin/python -m pytest -m 'slow and not browser' -k test_s
$ .venv/bin/python -m pytest -m 'not slow and not browser'
""",
        ),
    ],
    ids=["sample", "test"],
)
def test_start_shows_and_runs_what_it_promises(
    arguments: list[str],
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a folder where nothing exists yet; the commands are counted instead of run."""
    ran = []

    def count(command: list[str], cwd: Path, **_: Any) -> subprocess.CompletedProcess[str]:
        assert cwd == tmp_path
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", count)
    start = shutil.copy(ROOT / "start.py", tmp_path)
    monkeypatch.setattr(sys, "argv", [str(start), *arguments])
    runpy.run_path(str(start), run_name="__main__")
    printed = [line for line in capsys.readouterr().out.splitlines(keepends=True) if line.startswith("$")]
    assert "".join(printed) == shown
    assert len(ran) == len(printed)


def test_start_ends_with_the_status_of_what_failed(tmp_path: Path) -> None:
    start = shutil.copy(ROOT / "start.py", tmp_path)  # without setup.py beside it, pip fails
    done = subprocess.run([sys.executable, start, "wrong"], text=True, capture_output=True, check=False)
    assert (done.returncode, "python3 start.py test" in done.stderr) == (2, True)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in "pip", "python":
        (tmp_path / ".venv/bin" / name).write_text("#!/bin/sh\nexit 7\n")
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    done = subprocess.run([sys.executable, start], text=True, capture_output=True, check=False)
    assert done.returncode == 7


#: What pytest is called with: each test belongs to one of these parts.
PARTS = "slow and not browser -k not test_s", "slow and not browser -k test_s", "browser", "not slow and not browser"


@pytest.mark.parametrize("failing", PARTS)
def test_start_runs_all_tests_and_reports_a_failure_of_any_part(failing: str, tmp_path: Path) -> None:
    start = shutil.copy(ROOT / "start.py", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in "pip", "python", "nbdev_test":
        (tmp_path / ".venv/bin" / name).write_text(
            f'#!/bin/sh\necho "ran $*"\n[ "$*" != "-m pytest -m {failing}" ] || exit 7\n'
        )
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    done = subprocess.run([sys.executable, start, "test"], text=True, capture_output=True, check=False)
    assert done.returncode == 7
    assert sorted(done.stdout.splitlines()[-4:]) == sorted(f"ran -m pytest -m {part}" for part in PARTS)


@pytest.mark.browser
@pytest.mark.usefixtures("browser")
def test_picture_shows_the_player_with_sample_data(tmp_path: Path) -> None:
    picture, script = ROOT / "nbs/images/player.png", ROOT / "nbs/images/player.py"
    assert picture.stat().st_size < 300_000
    subprocess.run([sys.executable, script, tmp_path / "again.png"], check=True, capture_output=True)
    with Image.open(picture) as kept, Image.open(tmp_path / "again.png") as taken:
        assert kept.size == taken.size
        apart = np.asarray(kept.convert("L"), float) - np.asarray(taken.convert("L"), float)
    # another browser, its fonts, or another version of Pillow may move a letter or a grey level
    assert np.abs(apart).mean() < 4, "player.png is not up to date: run python nbs/images/player.py"
