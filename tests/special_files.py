"""Run commands for tests in separate processes that start at once: a server imports all commands and forks.

`python special_files.py` reads one line of JSON per command, [name, arguments, seconds], and answers with one line: status,
output, error output, seconds, and the peak memory in MB. The status is None if the command had to be killed.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = "nsw_da_medical_image"
COMMANDS = {
    "dataset": f"{PACKAGE}.dataset_util.dataset",
    "validate": f"{PACKAGE}.validation.validate",
    "image_folder": f"{PACKAGE}.dataset_util.image_folder",
    "extract_part": f"{PACKAGE}.dataset_util.extract_part",
    "split": f"{PACKAGE}.dataset_util.split",
    "synthetic": f"{PACKAGE}.dataset_util.synthetic",
    "compare": f"{PACKAGE}.viewer.realism",
    "play_video": "play_video",
    "experiment_1": "experiment_1",
}


class Ended(NamedTuple):
    """How a command ended."""

    status: int | None
    out: str
    err: str
    seconds: float
    megabytes: float


def work(name: str, args: list[str], out: int, err: int) -> None:
    """Run a command in this process, and end it."""
    status = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.setpgid(0, 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        status = importlib.import_module(COMMANDS[name]).main(args)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(name: str, args: list[str], seconds: float) -> Ended:
    """Run a command in a child, and kill it after so many seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        if not (child := os.fork()):
            work(name, args, out.fileno(), err.fileno())
        ended, status, used = 0, 0, None
        while not ended and time.monotonic() < began + seconds:
            ended, status, used = os.wait4(child, os.WNOHANG)
            if not ended:
                time.sleep(0.005)
        took = time.monotonic() - began
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, _, used = os.wait4(child, 0)
        texts = []
        for file in out, err:
            file.seek(0)
            texts.append(file.read(1_000_000).decode(errors="replace"))
        unit = 1024 if sys.platform != "darwin" else 1024 * 1024
        return Ended(os.waitstatus_to_exitcode(status) if ended else None, *texts, took, used.ru_maxrss / unit)


def serve() -> None:
    """Answer until standard input ends."""
    sys.path.insert(0, str(ROOT))
    for module in COMMANDS.values():
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)


class Server:
    """The server, as a context manager; call it with the name of a command, its arguments and a limit in seconds."""

    def __init__(self, cache: Path):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NSW_CACHE_DIR": str(cache), "MPLBACKEND": "agg"}
        command = [sys.executable, "-W", "error", __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=environment, **pipes)

    def __enter__(self) -> Callable[..., Ended]:
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __call__(self, name: str, args: list[object], seconds: float = 60) -> Ended:
        print(json.dumps([name, [*map(str, args)], seconds]), file=self.process.stdin, flush=True)
        return Ended(*json.loads(self.process.stdout.readline()))

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


if __name__ == "__main__":
    serve()
