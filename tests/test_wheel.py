"""Test the wheel: its content, its requirements, and that it works outside of the checkout.

The installed wheel uses the requirements of the tests' environment, which is quick. With NSW_WHEEL_REQUIREMENTS=1, pip
installs them from the wheel's own metadata instead, without the optional extras.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

REPO = Path(__file__).parent.parent
PACKAGE = "nsw_da_medical_image"

Run = Callable[..., subprocess.CompletedProcess[str]]


def pip(*args: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *args], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from a copy: setuptools leaves a build folder behind, and packs the content of an old one."""
    tmp = tmp_path_factory.mktemp("wheel")
    tree = tmp / "tree"
    shutil.copytree(REPO / PACKAGE, tree / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("nbs", "tests"):
        (tree / folder).mkdir()
        (tree / folder / "__init__.py").touch()  # must not be taken for a package
    for name in ("setup.py", "settings.ini", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, tree)
    pip("wheel", tree, "--no-deps", "--quiet", "--wheel-dir", tmp)
    (path,) = tmp.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: set[str]) -> Message:
    (name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return message_from_string(zipfile.ZipFile(wheel).read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the interpreter of a new environment that contains the wheel, in a folder outside of the checkout."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", with_pip=False, symlinks=True)
    python = home / "venv/bin/python"
    alone = os.environ.get("NSW_WHEEL_REQUIREMENTS") == "1"
    pip("--python", python, "install", "--quiet", *([] if alone else ["--no-deps"]), wheel)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([python, *args], cwd=home, env=env, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "RuntimeWarning" not in done.stderr, done.stderr  # a package that imports the module being run
        return done

    if not alone:
        (site,) = home.glob("venv/lib/python*/site-packages")
        folders = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        # A path in a .pth file is searched after the wheel, and .pth files found there are not read: the checkout,
        # which an editable install adds through one, stays out of reach.
        (site / "borrowed.pth").write_text("\n".join(folders))
    place = run("-c", f"import {PACKAGE}; print({PACKAGE}.__file__)").stdout.strip()
    assert Path(place).resolve().is_relative_to((home / "venv").resolve())
    return run


def loaded_by(run: Run, *modules: str) -> set[str]:
    """Return the top-level names that a new interpreter has after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(run("-c", code).stdout.split())


def package_modules() -> list[str]:
    """Return the names of the modules below dataset_util."""
    folder = REPO / PACKAGE / "dataset_util"
    return [f"{PACKAGE}.dataset_util.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def test_wheel_carries_the_package_and_nothing_else(names: set[str]) -> None:
    files = (path for path in (REPO / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    want = {path.relative_to(REPO).as_posix() for path in files}
    assert {name for name in names if ".dist-info/" not in name} == want
    assert f"{PACKAGE}/py.typed" in want
    assert f"{PACKAGE}/dataset_util/data/video_ids.txt" in want
    assert f"{PACKAGE}/validation/data/known_issues.tsv" in want
    assert any(name.endswith("/LICENSE") for name in names)


def test_runtime_requirements_hold_no_development_tool(metadata: Message) -> None:
    wanted = map(Requirement, metadata.get_all("Requires-Dist", []))
    runtime = {req.name for req in wanted if req.marker is None}
    assert {"numpy", "pandas"} <= runtime
    assert not runtime & {"nbdev", "fastcore", "execnb", "ghapi", "pytest", "ruff", "mypy", "ipython"}


def test_extras(metadata: Message) -> None:
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]

    def extra(name: str) -> set[str]:
        return {f"{r.name}{r.specifier}" for r in wanted if r.marker and r.marker.evaluate({"extra": name})}

    assert set(metadata.get_all("Provides-Extra", [])) == {"archives", "movies", "split", "dev", "all"}
    parts = [extra(name) for name in ("archives", "movies", "split")]
    assert all(parts)
    assert extra("all") == set.union(*parts)


def test_commands_work_from_the_wheel(installed: Run) -> None:
    command = f"{PACKAGE}.dataset_util"
    installed("-m", f"{command}.sample", "A", "--videos", "1", "--frames", "3", "--size", "64")
    installed("-m", f"{command}.extract_dataset", "A", "E")
    assert json.loads(installed("-m", f"{command}.dataset", "E", "--json").stdout)
    assert "1 video without error or warning" in installed("-m", f"{PACKAGE}.validation.validate", "E").stdout


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.dataset_util.util"])
def test_the_vocabulary_imports_nothing_heavy(installed: Run, module: str) -> None:
    heavy = {"numpy", "pandas", "PIL", "matplotlib", "ipywidgets", "jupyterlab", "IPython", "isal"}
    assert not loaded_by(installed, module) & heavy


def test_no_module_of_the_library_imports_a_notebook_builder(installed: Run) -> None:
    assert not loaded_by(installed, *package_modules()) & {"nbdev", "fastcore", "execnb"}


def test_reading_data_needs_no_user_interface(installed: Run) -> None:
    interface = {"jupyterlab", "ipywidgets", "anywidget", "matplotlib"}
    assert not loaded_by(installed, *package_modules()) & interface


def test_importing_the_package_loads_only_itself(installed: Run) -> None:
    """Print how long it took; a busy machine cannot promise a time."""

    def imported(code: str) -> dict[str, int]:
        """Return microseconds by module, as `-X importtime` reports them."""
        done = installed("-X", "importtime", "-c", code)
        rows = [line.split("|") for line in done.stderr.splitlines() if line.count("|") == 2]
        return {name.strip(): int(total) for _, total, name in rows if total.strip().isdigit()}

    before, after = imported("pass"), imported(f"import {PACKAGE}")
    new = {name.split(".")[0] for name in after.keys() - before.keys()} - sys.stdlib_module_names
    print(f"import {PACKAGE}: {after[PACKAGE] / 1000:.1f} ms")
    assert new == {PACKAGE}
