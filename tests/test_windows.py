"""Test that the library works without what Windows lacks, except the extraction; windows.py explains how."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the simulation needs /proc")
@pytest.mark.parametrize("option", ["--simulate", pytest.param("--block", marks=pytest.mark.slow)])
def test_reading_playing_splitting_and_validating_work_on_windows(tmp_path: Path, option: str) -> None:
    script = Path(__file__).with_name("windows.py")
    command = [sys.executable, str(script), option, str(tmp_path / "work")]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "Windows: all of it works"
