"""Test the notebooks in a real JupyterLab, and the tools of lab.py themselves."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from lab import Lab, page_errors, red, run_all, saved_cells, screenshot, wait_idle
from nbformat.v4 import new_code_cell, new_notebook

NBS = Path(__file__).parent.parent / "nbs"

# Notebooks for "Run All Cells", one of each kind: a command, a tutorial with a report, figures, the player, the quick start. With
# NSW_EVERY_NOTEBOOK=1, as in the workflow, all notebooks run, which takes some minutes.
SOME = [
    "dataset_util/04_sample.ipynb",
    "tutorials/trust.ipynb",
    "viewer/00_plots.ipynb",
    "viewer/02_player.ipynb",
    "yolo.ipynb",
]
FOUND = [path.relative_to(NBS).as_posix() for path in NBS.rglob("*.ipynb") if path.name != "app.ipynb"]
EVERY = sorted(name for name in FOUND if not name.startswith((".", "_")) and "/." not in name)
NOTEBOOKS = EVERY if os.environ.get("NSW_EVERY_NOTEBOOK") == "1" else SOME

pytestmark = pytest.mark.browser


def notebook(path: Path, *sources: str) -> Path:
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(s) for s in sources], metadata=kernel), path)
    return path


SLIDER = "import ipywidgets\nslider = ipywidgets.IntSlider(value=42, description='run')\nslider"


@pytest.mark.parametrize("dark", [False, True])
def test_widget_is_shown(open_notebook: Callable[..., Any], tmp_path: Path, dark: bool) -> None:
    page = open_notebook(notebook(tmp_path / "small.ipynb", SLIDER, "print(slider.value + 1)"), dark=dark)
    ran = run_all(page)
    assert ran, ran.error
    page.locator(".widget-slider").wait_for(timeout=180_000)
    assert page.locator(".widget-slider .widget-label").inner_text() == "run"
    assert saved_cells(page)[1]["outputs"][0]["text"].strip() == "43"
    assert page.evaluate("() => document.body.dataset.jpThemeLight") == str(not dark).lower()
    screenshot(page, f"slider-{'dark' if dark else 'light'}")
    assert page_errors(page) == []


def test_the_kernel_hears_the_browser_and_a_reload_keeps_it(open_notebook: Callable[..., Any], tmp_path: Path) -> None:
    page = open_notebook(notebook(tmp_path / "small.ipynb", SLIDER, "print(slider.value)"))
    assert run_all(page)
    page.locator(".widget-slider .noUi-handle").press("ArrowRight")
    page.evaluate(
        """async () => {
          const app = window.jupyterapp;
          app.shell.currentWidget.content.activeCellIndex = 1;
          await app.commands.execute('notebook:run-cell');
          await app.commands.execute('docmanager:save');
        }"""
    )
    assert saved_cells(page)[1]["outputs"][0]["text"].strip() == "43"
    page.reload()
    wait_idle(page)
    assert saved_cells(page)[1]["outputs"][0]["text"].strip() == "43"


def test_failing_cell_is_reported(open_notebook: Callable[..., Any], tmp_path: Path) -> None:
    path = notebook(tmp_path / "bad.ipynb", "x = 1", "raise ValueError('run 231 is missing')", "y = 2")
    ran = run_all(open_notebook(path))
    assert not ran
    assert ran.error.startswith("cell 2 failed:")
    assert "ValueError: run 231 is missing" in ran.error


def test_dead_kernel_is_reported(open_notebook: Callable[..., Any], tmp_path: Path) -> None:
    ran = run_all(open_notebook(notebook(tmp_path / "dead.ipynb", "import os\nos._exit(1)", "x = 1")), timeout=60)
    assert not ran
    assert "the kernel has died" in ran.error


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_from_top_to_bottom(open_notebook: Callable[..., Any], name: str) -> None:
    page = open_notebook(NBS / name)
    ran = run_all(page)
    screenshot(page, name.removesuffix(".ipynb").replace("/", "-"))
    assert ran, ran.error
    assert red(page) == []
    assert page_errors(page) == []


def test_what_is_red_is_reported(open_notebook: Callable[..., Any], tmp_path: Path) -> None:
    late = "from tqdm.auto import tqdm\nbar = tqdm(total=3)\nbar.update(2)\nbar.close()"
    ours = late.replace("from tqdm.auto", "from nsw_da_medical_image.dataset_util.util").replace("tqdm", "progress")
    page = open_notebook(notebook(tmp_path / "red.ipynb", ours, "import sys\nprint(2, file=sys.stderr)", late))
    assert run_all(page)
    page.locator(".widget-hprogress").wait_for()
    standard, bar = red(page)
    assert standard.startswith("cell 2 (id ")
    assert standard.endswith("): 2")
    assert bar.startswith("cell 3: ")
    assert bar.endswith("(a progress bar that ended early)")


def test_server_ends_with_its_tests_even_when_they_are_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lab import Lab\n"
        "lab = Lab(Path(sys.argv[1])).wait(); print(lab.process.pid, flush=True); time.sleep(60)"
    )
    tests = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "home")],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdout is not None
    with tests:
        guard = psutil.Process(int(tests.stdout.readline()))
        server = guard.children(recursive=True)
        assert server
        os.kill(tests.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs([guard, *server], timeout=20)
    assert alive == []


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "jupyterlab.py").write_text("raise SystemExit('no JupyterLab today')")
    with pytest.raises(RuntimeError, match="no JupyterLab today"):
        Lab(tmp_path / "home").wait(30)
