"""Try the sdist and the wheel of this tree in new environments, with the lowest and the newest versions of what they require.

    pip install build twine uv
    python .ci/release.py python3.11 python3.12 python3.13     # about two minutes for each environment on two cores

Builds both from a copy of the files that git tracks, installs them with all optional extras, imports every module, and runs
sample, extraction, summary (of files and of archives), validation with pixels, player, film, split, image folder and experiment.
The newest versions are tried with the wheel and the sdist, the lowest that settings.ini allows with the wheel; if one of them has no wheel for a Python,
the lowest that has one is taken, which the table shows. Prints a table; exit status 1 if anything failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "nsw_da_medical_image"
EXTRAS = ("archives", "download", "movies", "shards", "app", "completion")

IMPORT_ALL = f"""
import importlib, pkgutil, {PACKAGE} as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
SHOW = f"""
from {PACKAGE}.dataset_util.dataset import EmbryoDataset
from {PACKAGE}.viewer.explorer import explore
from {PACKAGE}.viewer.player import EmbryoPlayer
from {PACKAGE}.viewer.plots import contact_sheet
ds = EmbryoDataset("data")
EmbryoPlayer(ds["SAM1-2"])._repr_mimebundle_()
explore(ds)._repr_mimebundle_()
contact_sheet(ds["SAM1-2"]).figure.savefig("sheet.png")
"""
STEPS = [
    *(
        ["-m", PACKAGE, *line.split()]
        for line in """
        sample archives --videos 5 --frames 12 --size 96
        extract archives data
        show data
        show archives
        validate data --pixels --html report.html
        play data SAM1-2 --out page.html --no-open
        export data SAM1-2 --out film.mp4
        split data --out split.json
        folder data images --planes F0
        experiment data --out experiment
        """.strip().splitlines()
    ),
    ["-c", IMPORT_ALL],
    ["-c", SHOW],
]


def run(*command: object, cwd: Path, **env: str) -> str:
    """Run a command; return '' or, if it failed, its last lines."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=kept | env, text=True, capture_output=True, check=False)
    return "" if not done.returncode else (done.stdout + done.stderr)[-1500:] or f"status {done.returncode}"


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist and, from it, the wheel; return both."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "tree" / name)
    why = run(sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "tree", cwd=folder)
    why = why or run(sys.executable, "-m", "twine", "check", "--strict", *(folder / "dist").glob("*"), cwd=folder)
    if why:
        raise SystemExit(why)
    return next((folder / "dist").glob("*.tar.gz")), next((folder / "dist").glob("*.whl"))


def requirements() -> list[str]:
    """Return what the library and its optional extras require, as settings.ini has it."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    keys = ["requirements", *(f"{extra}_requirements" for extra in EXTRAS)]
    return " ".join(config["DEFAULT"].get(key, "") for key in keys).split()


def attempt(python: str, package: Path, lowest: bool, folder: Path) -> tuple[str, str]:
    """Install into a new environment and run all steps; return the installed versions, and '' or what failed."""
    home = Path(tempfile.mkdtemp(dir=folder))
    uv = [sys.executable, "-m", "uv"]
    here = home / "venv" / "bin" / "python"
    wanted = [f"{PACKAGE}[{','.join(EXTRAS)}] @ {package.as_uri()}"]
    options = ["--resolution", "lowest-direct", "--only-binary", ":all:"] if lowest else []
    wanted += requirements() if lowest else []
    why = run(*uv, "venv", "--quiet", "--python", python, home / "venv", cwd=home)
    why = why or run(*uv, "pip", "install", "--quiet", "--python", here, *options, *wanted, cwd=home)
    why = why or run(*uv, "pip", "check", "--python", here, cwd=home)
    if why:
        return "", why
    work = home / "work"
    work.mkdir()
    failed = [
        f"{' '.join(step)[:60]}: {why}"
        for step in STEPS
        if (why := run(here, *step, cwd=work, HOME=str(home), NSW_CACHE_DIR=str(home / "cache")))
    ]
    listed = subprocess.run([*uv, "pip", "list", "--python", here], capture_output=True, text=True, check=True).stdout
    names = [re.split("[>=<]", each)[0] for each in requirements()]
    versions = dict(re.findall(r"^(\S+) +(\S+)", listed, re.M))
    shutil.rmtree(home)
    return " ".join(f"{name} {versions.get(name, '?')}" for name in names), "\n".join(failed)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="+", help="interpreters to try, such as python3.12")
    args = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        sdist, wheel = build(Path(name))
        print("| Python | Package | Versions | Result |\n|---|---|---|---|", flush=True)
        for python in args.python:
            for package, lowest in ((wheel, False), (sdist, False), (wheel, True)):
                versions, why = attempt(python, package, lowest, Path(name))
                kind = "wheel" if package == wheel else "sdist"
                level = "lowest" if lowest else "newest"
                print(
                    f"| {Path(python).name} | {kind} | {level}: {versions} | {'failed' if why else 'ok'} |", flush=True
                )
                if why:
                    print(why, file=sys.stderr)
                failed += bool(why)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
