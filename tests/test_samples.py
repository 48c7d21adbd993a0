"""Run every code sample of the documentation: fenced blocks and commands in backticks, in README, CONTRIBUTING, notebooks and scripts.

Each sample runs in this process, in a folder that has what the documentation speaks of: `data/archives` and `data/extracted` with
AA83-7 and AB028-6, `sample-data`, and the scripts of the root. A sample that cannot run here is in EXCUSED with the reason;
an excuse that no sample needs any more is an error.
"""

import contextlib
import importlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sysconfig
import tarfile
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from nsw_da_medical_image import cli
from nsw_da_medical_image.common.command import parser_of
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = "play_video.py", "experiment_1.py", "explore.py"
#: Pages that have tests of their own: test_pages.py, and test_recipes.py, which needs other libraries.
PAGES = "robustness.ipynb", "benchmarks.ipynb", "recipes.ipynb"

#: What a sample contains, and why it does not run here.
EXCUSED = {
    "git clone ": "needs the network; start.py itself: tests/test_readme.py, and .ci/run",
    "python3 start.py": "installs an environment; tests/test_readme.py counts its steps, and .ci/run runs it",
    "python3 -m venv": "installs an environment; tests/test_wheel.py makes some",
    ".sample data/archives": "draws nine videos in full size; tests/test_readme.py runs it",
    ".sample sample-data/archives": "the same",
    "extract_dataset sample-data/archives": "tests/test_readme.py runs it",
    "experiment_1.py": "runs for ten seconds; tests/test_experiment.py runs it",
    "set -euo pipefail": "an option of the shell, not a command",
    "pip install": "needs the network; tests/test_wheel.py installs",
    "download data/archives": "fetches gigabytes; tests/test_download.py runs the command against a local server",
    "download $SHARED": "the same",
    "jupyter lab": "a server that does not end; tests/test_jupyterlab.py starts one",
    "explore.py": "a server that does not end; tests/test_explore.py starts it",
    "git add": "changes the checkout",
    "ruff check": "the same; .ci/check.py runs it",
    ".ci/readme.py": "the same; .ci/check.py compares",
    "nbdev": "changes the checkout, or runs all notebooks; .ci/check.py exports and cleans in a copy",
    ".ci/fast": "runs this test",
    ".ci/outputs.py": "runs all notebooks for minutes; tests/test_outputs.py runs it on small ones",
    ".ci/check.py": "runs for a minute; .ci/run runs it",
    ".ci/docs.py": "runs for minutes; tests/test_docs.py runs it",
    "benchmarks/": "runs for minutes; `python benchmarks/page.py --quick` tries each",
    "nbs/images/generator.py": "needs torch and diffusers, and runs for minutes; the page states when it was run",
    ".ci/release.py": "installs many environments, for minutes",
    ".ci/hosts.py": "starts all hosts, for minutes",
    "scheduler.my-lab": "needs a cluster; tests/test_validate.py uses a local one",
    "completions/nsw-embryo": "writes into the home folder; tests/test_cli.py prints the script",
}


#: What a sample makes although the folder has it already: it is removed before.
MADE_AGAIN = {
    r"(extract_dataset|nsw-embryo part) data/archives data/extracted": "data/extracted",
}


class Sample(NamedTuple):
    """One sample: where it is, its language, its text."""

    place: str
    language: str
    text: str


FENCE = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```[ ]*$", re.M | re.S)
COMMAND = re.compile(r"(?:nsw-embryo|python3?|pip|\.venv/bin/\w+|jupyter|voila|\.ci/\w+) .+")
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]{2,}\b(?<!SAM)(?!\d)|(?<=python -m)$|^python -m nsw_da_medical_image$")


def markdown() -> Iterator[tuple[str, str]]:
    """Yield each document's name and the text of its parts."""
    for name in "README.md", "CONTRIBUTING.md", "SECURITY.md":
        yield name, (ROOT / name).read_text(encoding="utf-8")
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if path.name == "index.ipynb" or path.name in PAGES or any(part.startswith((".", "_")) for part in path.parts):
            continue  # the README has the same samples
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield path.relative_to(ROOT).as_posix(), "".join(cell["source"])


def blocks() -> Iterator[Sample]:
    """Yield fenced blocks, and the commands in the docstrings of scripts."""
    for name, text in markdown():
        for language, block in FENCE.findall(text):
            if language != "text" and not (name == "README.md" and language == "console"):  # test_readme.py
                language = language if language == "python" else "sh"
                yield Sample(name, language, textwrap.dedent(block))
    yield Sample(".binder/postBuild", "sh", (ROOT / ".binder" / "postBuild").read_text(encoding="utf-8"))
    for name in SCRIPTS:
        docstring = (ROOT / name).read_text(encoding="utf-8").split('"""')[1]
        for line in re.findall(r"^    (python .*\n)", docstring, re.M):
            yield Sample(name, "sh", line)


def inline() -> Iterator[Sample]:
    """Yield commands in backticks that name everything that they need."""
    for name, text in markdown():
        for found in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
            if COMMAND.fullmatch(found) and not PLACEHOLDER.search(found):
                yield Sample(name, "sh", found + "\n")


def unique(samples: Iterator[Sample]) -> list[Sample]:
    """Return samples without those whose text occurred before."""
    return list({sample.text: sample for sample in reversed([*samples])}.values())[::-1]


BLOCKS, INLINE = unique(blocks()), unique(inline())


def lines_of(text: str) -> list[str]:
    """Return the commands of a shell block, one per line; a comment at the end of a line is left out."""
    return [
        line for line in (re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines()) if line and line[0] != "#"
    ]


def excuse(text: str) -> str | None:
    return next((reason for part, reason in EXCUSED.items() if part in text), None)


# --- the folder in which samples run -----------------------------------------------------------------------------------


def renamed(folder: Path, names: dict[str, str]) -> None:
    """Give the videos of an extracted data set other names, in folders and in text files."""
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        for old, new in names.items():
            if path.name == old or path.name.startswith(f"{old}_"):
                path.rename(path.with_name(path.name.replace(old, new)))
    grades = folder / "embryo_dataset_grades.csv"
    text = grades.read_text()
    for old, new in names.items():
        text = text.replace(f"{old},", f"{new},")
    grades.write_text(text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the documentation speaks of."""
    top = tmp_path_factory.mktemp("world")
    make_archives(top / "made", videos=9, frames=24, size=64)
    extract_dataset(top / "made", top / "data" / "extracted")
    renamed(top / "data" / "extracted", {"SAM1-2": "AA83-7", "SAM2-4": "AB028-6"})
    (top / "data" / "archives").mkdir()
    for path in (top / "data" / "extracted").iterdir():
        if path.is_file():
            shutil.copy(path, top / "data" / "archives")
        else:
            with tarfile.open(top / "data" / "archives" / f"{path.name}.tar.gz", "w:gz") as tar:
                tar.add(path, path.name)
    shutil.move(top / "made", top / "sample-data" / "archives")
    extract_dataset(top / "sample-data" / "archives", top / "sample-data" / "extracted")
    (top / "data" / "image-folders").mkdir()
    (top / "my-images").mkdir()
    grey = np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8)
    for number, pixels in enumerate(grey):
        Image.fromarray(pixels).save(top / "my-images" / f"{number}.png")
    runpy_main(
        "nsw_da_medical_image.dataset_util.synthetic",
        f"{top}/data/all-synthetic-runs --adopt {top}/my-images --phase t4 --plane F0".split(),
    )
    for name in (*SCRIPTS, "settings.ini", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, top)
    for name in "benchmarks", ".ci", "nsw_da_medical_image":
        shutil.copytree(ROOT / name, top / name)  # copies, so that no sample can change the checkout
    return top


@pytest.fixture(autouse=True)
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go to a copy of this folder, with a home of its own, and never open a browser."""
    if "sample" not in request.fixturenames:
        return
    world = request.getfixturevalue("world")
    place = tmp_path / "home"
    shutil.copytree(world, place, copy_function=os.link, symlinks=True)
    monkeypatch.chdir(place)
    for name, value in {
        "HOME": place,
        "NSW_CACHE_DIR": world / "cache",
        "BROWSER": "true",
        "SHARED": "data",
        "SCRATCH": ".",
        "SLURM_ARRAY_TASK_ID": "0",
        "PATH": os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])),
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(ROOT),
    }.items():
        monkeypatch.setenv(name, str(value))


# --- run ----------------------------------------------------------------------------------------------------------------


def runpy_main(module: str, args: list[str]) -> int:
    """Run a command in this process, and return its exit status."""
    try:
        return importlib.import_module(module).main(args)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


def run_command(words: list[str]) -> int | None:
    """Run a command of this project in this process; None if it is another one."""
    match words:
        case ["nsw-embryo", *args]:
            return runpy_main("nsw_da_medical_image.cli", args)
        case ["python" | "python3", "-m", module, *args] if module.startswith("nsw_da_medical_image"):
            return runpy_main("nsw_da_medical_image.cli" if module == "nsw_da_medical_image" else module, args)
        case ["python" | "python3", script, *args] if script in SCRIPTS:
            try:
                return runpy.run_path(str(ROOT / script))["main"](args)
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else 1
    return None


def run_shell(text: str) -> None:
    """Run the lines of a block; what is not a plain command of this project is given to bash, all lines at once."""
    lines = lines_of(text)
    for pattern, made in MADE_AGAIN.items():
        if re.search(pattern, text):
            shutil.rmtree(made)
    plain = [shlex.split(line) for line in lines if not re.search(r"[|&;><$]", line)]
    if len(plain) == len(lines) and all(words[0] in ("nsw-embryo", "python", "python3") for words in plain):
        for line, words in zip(lines, plain, strict=True):
            status = run_command(words)
            if status is None:
                status = subprocess.run(["bash", "-c", line], check=False).returncode
            allowed = (0, 1) if re.search(r"validat|--check|batches|synthetic|extracted$|show", line) else (0,)
            assert status in allowed, f"{line}: status {status}"
        return
    done = subprocess.run(["bash", "-e", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"


def surroundings() -> dict[str, Any]:
    """Return the names that samples take from the cells around them."""
    from nsw_da_medical_image.dataset_util.split import make_split
    from nsw_da_medical_image.dataset_util.synthetic import SyntheticBatches
    from nsw_da_medical_image.validation.validate import validate
    from nsw_da_medical_image.viewer.player import EmbryoPlayer

    ds = EmbryoDataset("data/extracted")
    return {
        "EmbryoDataset": EmbryoDataset,
        "EmbryoPlayer": EmbryoPlayer,
        "Path": Path,
        "ds": ds,
        "video": ds["AA83-7"],
        "split": make_split(ds, (0.5, 0.25, 0.25)),
        "report": validate(ds),
        "syn": SyntheticBatches("data/all-synthetic-runs"),
        "transform": np.asarray,
        "model": lambda images: images,
        "criterion": lambda images, ranks: 0.0,
    }


def named(sample: Sample) -> str:
    return f"{sample.place}:{lines_of(sample.text)[0][:60] if lines_of(sample.text) else 'empty'}"


@pytest.mark.slow
@pytest.mark.parametrize("sample", BLOCKS, ids=named)
def test_blocks_run(sample: Sample) -> None:
    if sample.language == "python":
        if reason := excuse(sample.text):
            pytest.skip(reason)
        for needed in re.findall(r"^from (torch\w*|distributed|dask|diffusers|webdataset)\b", sample.text, re.M):
            pytest.importorskip(needed, reason=f"{needed} is not installed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(sample.text, sample.place, "exec"), surroundings())
        return
    kept = [line for line in lines_of(sample.text) if not excuse(line)]
    if not kept:
        pytest.skip(str(excuse(sample.text)))
    run_shell(sample.text if len(kept) == len(lines_of(sample.text)) else "\n".join(kept))


@pytest.mark.slow
@pytest.mark.parametrize("sample", INLINE, ids=named)
def test_commands_in_backticks_run(sample: Sample) -> None:
    if reason := excuse(sample.text):
        pytest.skip(reason)
    run_shell(sample.text)


def test_every_excuse_is_needed_and_every_command_exists() -> None:
    everything = "\n".join(sample.text for sample in (*BLOCKS, *INLINE))
    assert len(BLOCKS) > 15
    assert len(INLINE) > 25
    assert [part for part in EXCUSED if part not in everything] == []
    for line in lines_of(everything):
        for module in re.findall(r"python3? -m (nsw_da_medical_image[\w.]*)", line):
            assert importlib.util.find_spec(module), line
        for name in re.findall(r"nsw-embryo ([a-z]+)", line):
            assert name in cli.COMMANDS, line
        for script in re.findall(r"python3? ([\w./]+\.py)", line):
            assert (ROOT / script).is_file(), line


def test_options_of_excused_commands_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that does not run here must at least be understood."""
    seen = 0
    for sample in (*BLOCKS, *INLINE):
        for line in lines_of(sample.text) if sample.language == "sh" else ():
            if not excuse(line) or not (
                found := re.match(r"(?:nsw-embryo (\w+)|python -m nsw_da\S*\.(\w+))( .*)?$", line)
            ):
                continue
            name = found[1] or next(n for n, c in cli.COMMANDS.items() if c.module.endswith(found[2]))
            parser = parser_of(cli.commands()[name].main())
            with contextlib.redirect_stderr(None):
                parser.parse_args(shlex.split(found[3] or ""))
            seen += 1
    assert seen
