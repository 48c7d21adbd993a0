"""Test README.md: its commands print what it shows, its links work, its picture shows sample data."""

import difflib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
    assert sum(line.startswith("$ ") for line in text.splitlines()) == text.count("```console") == 5
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


def test_every_notebook_of_the_library_is_told() -> None:
    text = README.read_text(encoding="utf-8")
    notebooks = [p.relative_to(ROOT).as_posix() for p in ROOT.glob("nbs/*/[0-9]*.ipynb")]
    assert len(notebooks) >= 6
    assert [path for path in [*notebooks, "nbs/yolo.ipynb"] if f"]({path})" not in text] == []


def test_one_line_runs_the_tests() -> None:
    lines = [line for line in README.read_text(encoding="utf-8").splitlines() if "-m pytest" in line]
    assert len(lines) == 1
    assert lines[0].startswith("python3 -m venv .venv && ")


@pytest.mark.slow
def test_picture_is_drawn_from_sample_data(tmp_path: Path) -> None:
    picture, script = ROOT / "nbs/images/overview.png", ROOT / "nbs/images/overview.py"
    assert picture.stat().st_size < 300_000
    subprocess.run([sys.executable, script, tmp_path / "again.png"], check=True, capture_output=True)
    with Image.open(picture) as kept, Image.open(tmp_path / "again.png") as drawn:
        assert kept.size == drawn.size
        apart = np.asarray(kept.convert("L"), float) - np.asarray(drawn.convert("L"), float)
    # another version of matplotlib or Pillow may move a letter or a grey level
    assert np.abs(apart).mean() < 4, "overview.png is not up to date: run python nbs/images/overview.py"
