"""Test the sdist and the wheel that is built from it: their content, their requirements, and that the wheel works outside of the checkout.

The installed wheel uses the requirements of the tests' environment, which is quick. With NSW_WHEEL_REQUIREMENTS=1, pip
installs them from the wheel's own metadata instead, without the optional extras, and again without the requirements of
the user interface, as the README describes for training nodes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
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
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an sdist built from a copy, since setuptools leaves files behind and packs those of an earlier build."""
    tmp = tmp_path_factory.mktemp("sdist")
    tree = tmp / "tree"
    for folder in (PACKAGE, "nbs"):
        shutil.copytree(
            REPO / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    for folder in ("nbs", "tests"):
        (tree / folder).mkdir(exist_ok=True)
        (tree / folder / "__init__.py").touch()  # must not be taken for a package
    (tree / "tests/test_nothing.py").touch()
    for path in REPO.iterdir():
        if path.is_file():
            shutil.copy(path, tree)
    needed = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    pip("install", "--quiet", "--target", tmp / "backend", *needed)
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp)!r})"
    env = os.environ | {"PYTHONPATH": str(tmp / "backend")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from the sdist alone."""
    tmp = tmp_path_factory.mktemp("wheel")
    pip("wheel", sdist, "--no-deps", "--quiet", "--wheel-dir", tmp)
    (path,) = tmp.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: set[str]) -> Message:
    (name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return message_from_string(zipfile.ZipFile(wheel).read(name).decode())


def alone() -> bool:
    return os.environ.get("NSW_WHEEL_REQUIREMENTS") == "1"


def environment(home: Path, *arguments: str | Path) -> Run:
    """Install with pip into a new environment; return a function that runs its interpreter away from the checkout."""
    venv.create(home / "venv", with_pip=False, symlinks=True)
    python = home / "venv/bin/python"
    pip("--python", python, "install", "--quiet", *arguments)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([python, *args], cwd=home, env=env, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "RuntimeWarning" not in done.stderr, done.stderr  # a package that imports the module being run
        return done

    return run


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs the interpreter of an environment that holds the wheel."""
    home = tmp_path_factory.mktemp("installed")
    run = environment(home, *([] if alone() else ["--no-deps"]), wheel)
    if not alone():
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


def test_sdist_carries_the_notebooks_and_no_test(sdist: Path) -> None:
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    notebooks = {p.relative_to(REPO).as_posix() for p in (REPO / "nbs").rglob("*.ipynb") if p.parts[-2][0] not in "._"}
    assert {name for name in names if name.endswith(".ipynb")} == notebooks | {f"{PACKAGE}/viewer/data/app.ipynb"}
    assert not [name for name in names if name.startswith("tests") or name.endswith((".jpeg", ".jpg", ".tar.gz"))]


def test_wheel_carries_the_package_and_nothing_else(names: set[str]) -> None:
    files = (path for path in (REPO / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    want = {path.relative_to(REPO).as_posix() for path in files}
    assert {name for name in names if ".dist-info/" not in name} == want
    assert f"{PACKAGE}/py.typed" in want
    assert f"{PACKAGE}/dataset_util/data/video_ids.txt" in want
    assert f"{PACKAGE}/validation/data/known_issues.tsv" in want
    assert f"{PACKAGE}/viewer/data/app.ipynb" in want
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

    assert set(metadata.get_all("Provides-Extra", [])) == {
        "archives",
        "download",
        "movies",
        "app",
        "shards",
        "completion",
        "dev",
        "all",
    }
    optional = extra("archives"), extra("download"), extra("movies"), extra("app"), extra("shards"), extra("completion")
    assert all(optional)
    assert extra("all") == set().union(*optional)


def test_licence_and_project_links(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    assert {"Documentation", "Source", "Issues", "Changelog"} <= urls.keys()
    assert all(url.startswith("https://") for url in urls.values())


def test_links_of_the_description_work_on_a_package_index(metadata: Message) -> None:
    """A package index has no files beside the description, so each link must be absolute and lead to a file of this version."""
    text = str(metadata.get_payload())
    targets = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text)
    assert len(targets) > 20
    assert [target for _, target in targets if not target.startswith(("https://", "#"))] == []
    version = metadata["Version"]
    ours = re.compile(
        rf"https://(?:raw\.githubusercontent|github)\.com/[^/]+/{PACKAGE}/(?:blob/)?v{re.escape(version)}/(.+)"
    )
    files = [(picture, found[1]) for picture, target in targets if (found := ours.fullmatch(target))]
    assert [name for _, name in files if not (REPO / name).is_file()] == []
    pictures = [name for picture, name in files if picture]
    assert pictures
    assert all(
        f"https://raw.githubusercontent.com/nantes-summer-workshop/{PACKAGE}/v{version}/{name}" in text
        for name in pictures
    )


def data_commands(run: Run) -> None:
    """Run what a training node runs: sample, extraction, summary, split, image folder, frames."""
    command = f"{PACKAGE}.dataset_util"
    run("-m", f"{command}.sample", "A", "--videos", "5", "--frames", "8", "--size", "64")
    run("-m", f"{command}.extract_dataset", "A", "E")
    assert json.loads(run("-m", f"{command}.dataset", "E", "--json").stdout)
    run("-m", f"{command}.split", "E", "--out", "split.json")
    run("-m", f"{command}.image_folder", "E", "F", "--split", "split.json", "--planes", "F0")
    code = f"from {command}.dataset import EmbryoDataset; print(EmbryoDataset('E').frames(planes='F0')[0].image.size)"
    assert run("-c", code).stdout == "(64, 64)\n"


def test_commands_work_from_the_wheel(installed: Run) -> None:
    data_commands(installed)
    assert (
        "5 videos without error or warning" in installed("-m", f"{PACKAGE}.validation.validate", "E", "--pixels").stdout
    )
    installed("-m", f"{PACKAGE}.viewer.player", "E", "SAM1-2", "--out", "page.html", "--no-open")
    page = installed("-c", "print(open('page.html', encoding='utf-8').read())").stdout
    assert page.startswith("<!doctype html>")
    assert page.count('"/9j/') == 8  # the frames themselves, as base64


def test_every_subcommand_works_from_the_wheel(installed: Run) -> None:
    """Each command explains itself outside of the checkout, as a script and as `python -m`."""
    code = "import sysconfig; print(sysconfig.get_path('scripts'))"
    script = Path(installed("-c", code).stdout.strip()) / "nsw-embryo"
    assert script.is_file()
    installed("-c", "import os; os.makedirs('umbrella')")
    for start in ["-m", PACKAGE], [str(script)]:
        listing = installed(*start, "--help").stdout
        assert installed(*start, "--version").stdout.startswith(f"{PACKAGE} ")
        for name in re.findall(r"^  ([a-z]+) {2,}", listing.partition("commands:")[2], re.M):
            assert installed(*start, name, "--help").stdout.startswith(f"usage: nsw-embryo {name} ")
    source = "data" if alone() else "archives"  # archives are read with the extra of this name
    for command in f"""
        sample umbrella/archives --videos 5 --frames 12 --size 64
        extract umbrella/archives umbrella/data
        part umbrella/{source} umbrella/part --planes F0
        show umbrella/data
        table umbrella/data umbrella/table.csv --files
        validate umbrella/data
        clock umbrella/data --videos SAM1-2
        split umbrella/data --out umbrella/split.json
        split umbrella/data --folds 3 --out umbrella/folds
        folder umbrella/data umbrella/images --planes F0
        batches umbrella/batches --adopt umbrella/images/images --phase t2
        compare umbrella/data umbrella/batches --out umbrella/compare.html
        play umbrella/data SAM1-2 --out umbrella/page.html --no-open
        export umbrella/data SAM1-2 --out umbrella/strip.png
        experiment umbrella/data --out umbrella/experiment --frames 1
    """.strip().splitlines():
        installed(str(script), *command.split())


@pytest.mark.skipif(not alone(), reason="needs NSW_WHEEL_REQUIREMENTS=1: the requirements of others are borrowed")
def test_requirements_agree(installed: Run) -> None:
    pip("--python", installed("-c", "import sys; print(sys.executable)").stdout.strip(), "check")


@pytest.mark.skipif(not alone(), reason="needs NSW_WHEEL_REQUIREMENTS=1: installs its own requirements")
def test_slim_install_of_the_readme(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The README names what a training node needs; without the rest, the data and its validation work."""
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in readme.splitlines() if line.startswith("pip install --no-deps "))
    named = line.split("&& pip install ")[1].split()
    assert len(named) == 6
    home = tmp_path_factory.mktemp("slim")
    environment(home, *named)
    run = environment(home, "--no-deps", wheel)
    data_commands(run)
    assert "5 videos without error or warning" in run("-m", f"{PACKAGE}.validation.validate", "E", "--pixels").stdout


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
