"""Check everything but the tests before a commit: `python .ci/check.py [name ...]`.

Prints one line per finding, with its remedy; the exit status is 1 if there are findings. The working tree is not
changed: notebooks are exported and cleaned in a temporary copy, and the results are compared.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import outputs

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "nsw_da_medical_image"


# --- tools ---------------------------------------------------------------------------------------


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool and return its status and output."""
    # nbdev exports nothing when it believes that it runs inside its own notebook test
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}
    try:
        return subprocess.run(
            command, cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def script(name: str) -> str:
    """Return the command of this interpreter's environment; PATH may contain that of another one."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or name


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def broken(what: str, done: subprocess.CompletedProcess[str]) -> str:
    """Return a finding about a tool that failed, with the last line that it printed."""
    said = lines(done.stderr) or lines(done.stdout) or ["no output"]
    return f"{what} failed with status {done.returncode}: {said[-1]}"


def notebook_paths(root: Path = ROOT) -> list[Path]:
    """Return the notebooks below `root`/nbs that nbdev finds, relative to `root`."""
    found = (path.relative_to(root) for path in (root / "nbs").rglob("*.ipynb"))
    return sorted(path for path in found if not any(part.startswith((".", "_")) for part in path.parts))


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook's JSON, each source as one string; raise `ValueError` if it is not a notebook."""
    try:
        nb = json.loads((ROOT / path).read_text(encoding="utf-8"))
        for cell in nb["cells"]:
            cell["source"] = "".join(cell["source"])
        return nb
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not a notebook of format 4: {error!r}") from None


@contextmanager
def copied_notebooks() -> Iterator[Path]:
    """Yield a temporary copy of the notebooks and the settings, for tools that write."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name).resolve()
        for path in [Path("settings.ini"), *notebook_paths()]:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy / path)
        yield copy


def modules(root: Path) -> dict[Path, bytes]:
    """Return {path: content} of the Python files of the package below `root`."""
    return {path.relative_to(root): path.read_bytes() for path in sorted((root / PACKAGE).rglob("*.py"))}


# --- checks --------------------------------------------------------------------------------------


def sync() -> list[str]:
    """Check that the package is exactly what its notebooks export."""
    with copied_notebooks() as copy:
        # only these are edited by hand; a notebook exports every other module
        for path in [*(ROOT / PACKAGE).rglob("__init__.py"), *(ROOT / PACKAGE).glob("__main__.py")]:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        done = run(script("nbdev_export"), cwd=copy)
        if done.returncode:
            return [broken("nbdev_export", done)]
        made, have = modules(copy), modules(ROOT)
    return [
        *(f"{p} does not exist yet: run nbdev_export" for p in sorted(made.keys() - have.keys())),
        *(
            f"{p} is not exported by any notebook: restore the notebook, or delete the module"
            for p in sorted(have.keys() - made.keys())
        ),
        *(
            f"{p} differs from what its notebook exports: change the notebook, then run nbdev_export"
            for p in sorted(made.keys() & have.keys())
            if made[p] != have[p]
        ),
    ]


def unadded() -> list[str]:
    """Check that git tracks every module and every notebook; a fresh clone would lack the others."""
    if not (ROOT / ".git").exists():
        return []
    # in a container, the checkout may belong to another user
    git = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--", PACKAGE, "nbs")
    if git.returncode:
        return [broken("git ls-files", git)]
    tracked = {Path(name) for name in git.stdout.split("\0")}
    return [
        f"{p} is not tracked by git: run git add {p}" for p in [*modules(ROOT), *notebook_paths()] if p not in tracked
    ]


def clean() -> list[str]:
    """Check that every notebook can be read, that its cells have ids of their own, and that nbdev_clean would not change it."""
    findings = []
    with copied_notebooks() as copy:
        done = run(script("nbdev_clean"), cwd=copy)
        if done.returncode:
            return [broken("nbdev_clean", done)]
        for path in notebook_paths():
            try:
                ids = [cell.get("id") for cell in read_notebook(path)["cells"]]
            except ValueError as error:
                findings.append(f"{path} cannot be read ({error}): repair its JSON")
                continue
            for name in sorted({str(name) for name in ids if name and ids.count(name) > 1}):
                findings.append(f"{path} contains two cells with the id {name}: give one of them another id")
            if (copy / path).read_bytes() != (ROOT / path).read_bytes():
                findings.append(f"{path} is not clean: run nbdev_clean --fname {path}")
    return findings


def app() -> list[str]:
    """Check that the package contains the notebook of the app as it is in nbs."""
    source, copy = ROOT / "nbs/app.ipynb", ROOT / PACKAGE / "viewer/data/app.ipynb"
    if source.exists() == copy.exists() and (not source.exists() or source.read_bytes() == copy.read_bytes()):
        return []
    place = copy.relative_to(ROOT)
    return [f"{place} differs from nbs/app.ipynb: run cp nbs/app.ipynb {place}"]


def private() -> list[str]:
    """Check that no notebook and no other tracked file contains what could be a real frame.

    Outputs, pictures and other files that are not text must be in nbs/outputs.json, which .ci/outputs.py writes.
    """
    return outputs.unknown(ROOT)


def shown() -> list[str]:
    """Check that each example shows its saved result, and that no notebook is too large."""
    return outputs.unshown(ROOT)


def readme_md() -> list[str]:
    """Check that README.md is up to date with nbs/index.ipynb."""
    import readme  # here, since nbconvert takes a second to import

    return readme.findings(ROOT)


def sidebar() -> list[str]:
    """The navigation of the documentation lists each notebook once."""
    import docs

    return list(docs.navigation_problems(ROOT / "nbs"))


def version_everywhere() -> list[str]:
    """Check that the package, CITATION.cff and CHANGELOG.md have the version of settings.ini."""
    import version

    return version.findings(root=ROOT)


def ruff() -> list[str]:
    """Check that ruff has no complaint about Python files and notebooks and would not reformat them."""
    tool = (sys.executable, "-m", "ruff")
    lint = run(*tool, "check", "--quiet", "--output-format", "concise")
    form = run(*tool, "format", "--check", "--quiet", "--output-format", "concise")
    findings = []
    for done, what, remedy in (
        (lint, "ruff check", "ruff check --fix corrects many of these"),
        (form, "ruff format", "run ruff format"),
    ):
        said = lines(done.stdout)
        if done.returncode not in (0, 1) or (done.returncode and not said):
            findings.append(broken(what, done))
        findings += [f"{line} ({remedy})" for line in said]
    return findings


def types() -> list[str]:
    """Check that mypy accepts the package."""
    done = run(sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--hide-error-context")
    said = [line for line in lines(done.stdout) if ": note: " not in line]
    if done.returncode and not said:
        return [broken("mypy", done)]
    return [f"{line} (correct it in the notebook)" for line in said]


CHECKS: dict[str, Callable[[], list[str]]] = {
    "sync": sync,
    "unadded": unadded,
    "clean": clean,
    "app": app,
    "private": private,
    "shown": shown,
    "readme": readme_md,
    "sidebar": sidebar,
    "version": version_everywhere,
    "ruff": ruff,
    "types": types,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check everything but the tests before a commit.")
    parser.add_argument("name", nargs="*", help=f"run only these checks: {', '.join(CHECKS)} (default: all)")
    names = parser.parse_args(argv).name or list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        parser.error(f"unknown check: {', '.join(unknown)}; choose from {', '.join(CHECKS)}")
    found = [f"{name}: {finding}" for name in names for finding in CHECKS[name]()]
    for line in found:
        print(line)
    print(
        f"{len(found)} finding{'s' * (len(found) != 1)} in {', '.join(names)}"
        if found
        else f"No findings in {', '.join(names)}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
