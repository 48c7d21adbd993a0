"""What must hold before a commit, apart from the tests: `python .ci/check.py [name ...]`.

Prints one line a finding, each with its remedy, and exits with status 1 where there is any. Nothing in the working
tree is changed: notebooks are exported and cleaned in a temporary copy, and the results are compared.
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
    """Run a tool and keep what it printed."""
    # nbdev exports nothing when it believes that it runs inside its own notebook test
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}
    try:
        return subprocess.run(
            command, cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def script(name: str) -> str:
    """The command that stands beside the interpreter in use, so that PATH cannot offer another environment's."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or name


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def broken(what: str, done: subprocess.CompletedProcess[str]) -> str:
    """One finding for a tool that did not do its work; a traceback's last line says why."""
    said = lines(done.stderr) or lines(done.stdout) or ["no output"]
    return f"{what} failed with status {done.returncode}: {said[-1]}"


def notebook_paths(root: Path = ROOT) -> list[Path]:
    """The notebooks that nbdev sees below `root`/nbs, relative to `root`."""
    found = (path.relative_to(root) for path in (root / "nbs").rglob("*.ipynb"))
    return sorted(path for path in found if not any(part.startswith((".", "_")) for part in path.parts))


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook's JSON with each source as one string; `ValueError` where it is none."""
    try:
        nb = json.loads((ROOT / path).read_text(encoding="utf-8"))
        for cell in nb["cells"]:
            cell["source"] = "".join(cell["source"])
        return nb
    except (KeyError, TypeError) as error:
        raise ValueError(f"no notebook of format 4: {error!r}") from None


@contextmanager
def copied_notebooks() -> Iterator[Path]:
    """A temporary project with the notebooks and the settings, for tools that write."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name).resolve()
        for path in [Path("settings.ini"), *notebook_paths()]:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy / path)
        yield copy


def modules(root: Path) -> dict[Path, bytes]:
    """The Python files of the package below `root`, path to content."""
    return {path.relative_to(root): path.read_bytes() for path in sorted((root / PACKAGE).rglob("*.py"))}


# --- checks --------------------------------------------------------------------------------------


def sync() -> list[str]:
    """The package is what its notebooks export, no more and no less."""
    with copied_notebooks() as copy:
        # Only the __init__.py files are kept by hand; every other module must come out of a notebook.
        for path in (ROOT / PACKAGE).rglob("__init__.py"):
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        done = run(script("nbdev_export"), cwd=copy)
        if done.returncode:
            return [broken("nbdev_export", done)]
        made, have = modules(copy), modules(ROOT)
    return [
        *(f"{p} has not been written: run nbdev_export" for p in sorted(made.keys() - have.keys())),
        *(
            f"{p} has no notebook that exports it: bring the notebook back, or delete the module"
            for p in sorted(have.keys() - made.keys())
        ),
        *(
            f"{p} is not what the notebooks export: change the notebook, then run nbdev_export"
            for p in sorted(made.keys() & have.keys())
            if made[p] != have[p]
        ),
    ]


def unadded() -> list[str]:
    """Git tracks every module and every notebook; a fresh clone would lack the others."""
    if not (ROOT / ".git").exists():
        return []
    # a checkout may belong to another user than the one who checks it, as in a container
    git = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--", PACKAGE, "nbs")
    if git.returncode:
        return [broken("git ls-files", git)]
    tracked = {Path(name) for name in git.stdout.split("\0")}
    return [
        f"{p} is not tracked by git: run git add {p}" for p in [*modules(ROOT), *notebook_paths()] if p not in tracked
    ]


def clean() -> list[str]:
    """Every notebook can be read, and nbdev_clean finds nothing to remove from it."""
    findings = []
    with copied_notebooks() as copy:
        done = run(script("nbdev_clean"), cwd=copy)
        if done.returncode:
            return [broken("nbdev_clean", done)]
        for path in notebook_paths():
            try:
                read_notebook(path)
            except ValueError as error:
                findings.append(f"{path} cannot be read ({error}): repair its JSON")
                continue
            if (copy / path).read_bytes() != (ROOT / path).read_bytes():
                findings.append(f"{path} is not clean: run nbdev_clean --fname {path}")
    return findings


def private() -> list[str]:
    """No notebook carries a picture or an output that the command for outputs did not save: a real frame could hide there."""
    return outputs.unknown(ROOT)


def shown() -> list[str]:
    """Each example shows its saved result, and no notebook is too large."""
    return outputs.unshown(ROOT)


def readme_md() -> list[str]:
    """README.md is what nbs/index.ipynb says."""
    import readme  # here, since nbconvert takes a second to import

    return readme.findings(ROOT)


def ruff() -> list[str]:
    """ruff has nothing to say about Python files and notebooks, and would format none of them anew."""
    tool = (sys.executable, "-m", "ruff")
    lint = run(*tool, "check", "--quiet", "--output-format", "concise")
    form = run(*tool, "format", "--check", "--quiet", "--output-format", "concise")
    findings = []
    for done, what, remedy in (
        (lint, "ruff check", "ruff check --fix mends many of these"),
        (form, "ruff format", "run ruff format"),
    ):
        said = lines(done.stdout)
        if done.returncode not in (0, 1) or (done.returncode and not said):
            findings.append(broken(what, done))
        findings += [f"{line} ({remedy})" for line in said]
    return findings


def types() -> list[str]:
    """mypy accepts the package."""
    done = run(sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--hide-error-context")
    said = [line for line in lines(done.stdout) if ": note: " not in line]
    if done.returncode and not said:
        return [broken("mypy", done)]
    return [f"{line} (mend it in the notebook)" for line in said]


CHECKS: dict[str, Callable[[], list[str]]] = {
    "sync": sync,
    "unadded": unadded,
    "clean": clean,
    "private": private,
    "shown": shown,
    "readme": readme_md,
    "ruff": ruff,
    "types": types,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check what must hold before a commit, apart from the tests.")
    parser.add_argument("name", nargs="*", help=f"only these checks, of: {', '.join(CHECKS)}")
    names = parser.parse_args(argv).name or list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        parser.error(f"no such check: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    found = [f"{name}: {finding}" for name in names for finding in CHECKS[name]()]
    for line in found:
        print(line)
    print(f"{len(found)} finding(s) in {', '.join(names)}" if found else f"No findings in {', '.join(names)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
