"""Try the library on invented embryos, or run its tests. Nothing outside of this folder is installed or changed, except caches.

    python3 start.py         make the environment .venv, install the library into it, write sample archives into
                             sample-data, extract them, and summarise them
    python3 start.py test    also install what the tests need; run the checks, all notebooks and all tests

What exists already is used as it is: the second time, start.py only updates the installation and prints the summary.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SCRIPTS = ROOT / ".venv" / "bin"
PYTHON = SCRIPTS / "python"
LIBRARY = "nsw_da_medical_image.dataset_util"
SAMPLE = Path("sample-data")


def show(*command):
    """Print a command as a person would type it in this folder."""
    shown = shlex.join(map(str, command)).replace(sys.executable, "python3").replace(str(ROOT) + os.sep, "")
    print("$ " + shown, flush=True)


def end(status):
    """Leave with this exit status if it is not 0."""
    if status:
        sys.exit(128 - status if status < 0 else status)


def run(*command):
    """Show a command and run it in this folder; leave with its exit status if it fails."""
    show(*command)
    end(subprocess.run([str(word) for word in command], cwd=ROOT).returncode)


def run_two_at_a_time(first, *others):
    """Run commands, two at a time; print the output of all but the first when all have ended."""

    def hidden(command):
        with tempfile.TemporaryFile("w+") as output:
            status = subprocess.run([str(word) for word in command], cwd=ROOT, stdout=output, stderr=output).returncode
            output.seek(0)
            return status, output.read()

    for command in (first, *others):
        show(*command)
    with ThreadPoolExecutor(2) as pool:
        live = pool.submit(subprocess.run, [str(word) for word in first], cwd=ROOT)
        ended = list(pool.map(hidden, others))
        statuses = [live.result().returncode, *(status for status, _ in ended)]
    for _, output in ended:
        print(output, end="", flush=True)
    end(max(statuses, key=abs))


def install(what):
    """Make .venv if it is missing, and install the library from this folder."""
    if os.name == "nt":
        sys.exit(
            "start.py: this script needs Linux or macOS. On Windows, run `wsl --install` and use the Ubuntu terminal; "
            "README.md describes what works without it."
        )
    if sys.version_info < (3, 11):  # noqa: UP036  # an older Python shall get this sentence, not an error
        sys.exit("start.py: Python 3.11 or newer is needed, this is " + sys.version.split()[0])
    if not (SCRIPTS / "pip").exists():  # also if an earlier attempt was interrupted
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            sys.exit(
                "start.py: this Python cannot make environments. On Debian or Ubuntu: sudo apt install python3-venv"
            )
        run(sys.executable, "-m", "venv", ".venv")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--editable", what)


def sample():
    """Write, extract and summarise the sample."""
    install(".")
    if not (ROOT / SAMPLE / "archives").exists():
        run(PYTHON, "-m", LIBRARY + ".sample", SAMPLE / "archives")
    if not (ROOT / SAMPLE / "extracted").exists():
        run(PYTHON, "-m", LIBRARY + ".extract_dataset", SAMPLE / "archives", SAMPLE / "extracted")
    run(PYTHON, "-m", LIBRARY + ".dataset", SAMPLE / "extracted")
    print("\nNext, play with it in JupyterLab: .venv/bin/jupyter lab nbs/yolo.ipynb")


def test():
    """Run the checks that do not depend on the version of a tool, the notebooks, and the tests."""
    install(".[dev]")
    run(PYTHON, ".ci/check.py", "sync", "unadded", "clean", "private")
    run(SCRIPTS / "nbdev_test", "--flags", "slow")
    tests = PYTHON, "-m", "pytest", "-m"
    slow = *tests, "slow and not browser", "-k"  # in two halves: special files and sources take as long as the rest
    run_two_at_a_time(
        (*slow, "not test_s"), (*tests, "browser"), (*slow, "test_s"), (*tests, "not slow and not browser")
    )


if __name__ == "__main__":
    try:
        if sys.argv[1:] == []:
            sample()
        elif sys.argv[1:] == ["test"]:
            test()
        else:
            asked = sys.argv[1:] in (["-h"], ["--help"])
            print(__doc__.strip(), file=sys.stdout if asked else sys.stderr)
            sys.exit(0 if asked else 2)
    except KeyboardInterrupt:
        sys.exit(130)
