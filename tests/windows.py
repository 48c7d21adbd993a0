"""Use the library as on Windows: `python tests/windows.py FOLDER`, on Windows; with `--simulate`, or `--block` for less of it, on Linux.

The simulation takes away what Windows lacks: modules, functions and flags of POSIX; folders as descriptors; renaming and
removing an open file. It cannot simulate drives, backslashes and line ends; the workflow runs this file on Windows.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODULES = ["fcntl", "pwd", "grp", "resource", "termios"]
ABSENT = [
    "O_NONBLOCK",
    "O_CLOEXEC",
    "O_NOCTTY",
    "O_NOFOLLOW",
    "O_DIRECTORY",
    "O_PATH",
    "O_SYNC",
    "pread",
    "preadv",
    "pwrite",
    "fchmod",
    "chown",
    "fchown",
    "lchown",
    "geteuid",
    "getuid",
    "getegid",
    "getgid",
    "getgroups",
    "fwalk",
    "statvfs",
    "fstatvfs",
    "sched_getaffinity",
    "uname",
    "mkfifo",
    "mknod",
    "killpg",
    "getpgid",
    "setsid",
    "sync",
    "posix_fadvise",
    "sendfile",
    "register_at_fork",
    "fork",
]


def block(names: list[str]) -> None:
    """Take away the modules of POSIX, and these names of `os`."""
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in names:
        if hasattr(os, name):
            delattr(os, name)


def simulate() -> None:
    """Take away what Windows lacks, before the library is imported."""
    import asyncio
    import shutil
    import subprocess
    import tempfile

    import matplotlib.pyplot  # the libraries know Windows by its name, which stays
    import numpy
    import pandas
    import pooch
    from IPython.display import display

    _ = asyncio, shutil, subprocess, tempfile, matplotlib, numpy, pandas, pooch, display
    block(ABSENT)
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40)  # type: ignore[attr-defined]  # another way there
    for name in ("SIGHUP", "SIGKILL", "SIGALRM", "SIGCHLD", "SIGPIPE", "pthread_sigmask", "pthread_kill"):
        delattr(signal, name)
    real_open, real_chmod = os.open, os.chmod

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real_open(path, flags, mode)

    def chmod(path: Any, mode: int, **options: Any) -> None:
        if isinstance(path, int):
            raise TypeError("chmod: path should be string, bytes or os.PathLike, not int")
        real_chmod(path, mode, **options)

    def is_open(path: Any) -> bool:
        if not os.path.lexists(path):
            return False
        facts = os.lstat(path)
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                other = os.stat(f"/proc/self/fd/{name}")
                same = os.path.samestat(facts, other)
                inside = stat.S_ISDIR(facts.st_mode) and os.readlink(f"/proc/self/fd/{name}").startswith(f"{path}/")
                if same or inside:
                    return True
        return False

    def refusing(real: Callable[..., Any], exclusive: bool = False) -> Callable[..., Any]:
        def call(source: Any, *rest: Any, **options: Any) -> Any:
            if any(value is not None for key, value in options.items() if key.endswith("dir_fd")):
                raise NotImplementedError("dir_fd unavailable on this platform")
            if is_open(source) or (rest and is_open(rest[0])):
                raise PermissionError(errno.EACCES, "the file is used by another process", source)
            if exclusive and os.path.lexists(rest[0]):
                raise FileExistsError(errno.EEXIST, "the file exists", source)
            return real(source, *rest, **options)

        return call

    os.open, os.chmod = open_, chmod  # type: ignore[assignment]
    os.rename = refusing(os.rename, exclusive=True)
    os.replace, os.unlink, os.remove, os.rmdir = map(refusing, (os.replace, os.unlink, os.remove, os.rmdir))
    os.supports_dir_fd, os.supports_fd = set(), {os.stat}  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]

    from nsw_da_medical_image.common import files

    files._libc = lambda name: None  # type: ignore[assignment]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder as a record of Zenodo, and yield its address. The first answer of each file breaks off in its middle."""
    met: set[str] = set()

    class Record(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def described(self, file: Path) -> dict[str, Any]:
            checksum = f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}"
            links = {"self": f"http://{self.headers['Host']}/{file.name}"}
            return {"key": file.name, "size": file.stat().st_size, "checksum": checksum, "links": links}

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name == "record":
                data = json.dumps({"files": [self.described(file) for file in folder.iterdir()]}).encode()
            else:
                data = (folder / name).read_bytes()
            first = int(self.headers.get("Range", "bytes=0-")[6:-1])
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(data) - first))
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(data[first:] if name == "record" or name in met else data[: len(data) // 2])
            met.add(name)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Record)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/record"
    finally:
        server.shutdown()
        server.server_close()


def commands(work: Path) -> None:
    """Use all that works on Windows, on sample data in the new folder `work`."""
    from nsw_da_medical_image.cli import main
    from nsw_da_medical_image.common import files
    from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset

    assert hasattr(os, "O_DIRECTORY") == files.BY_DESCRIPTOR
    work.mkdir()
    os.environ["NSW_CACHE_DIR"] = str(work / "cache")
    archives, data = work / "archives", work / "extracted"

    def run(*words: Any, status: int = 0) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = main([str(word) for word in words])
        print(*words, "->", found)
        assert found == status, err.getvalue()
        return out.getvalue(), err.getvalue()

    run("sample", archives, "--videos", 6, "--frames", 12, "--size", 64)
    _, told = run("extract", archives, data, status=1)
    assert told.startswith("error: the extraction needs Linux or macOS"), told
    assert "WSL 2" in told
    assert "Traceback" not in told
    assert not data.exists()
    data.mkdir()  # an empty folder is replaced
    run("part", archives, data)
    packed, ds = EmbryoDataset(archives), EmbryoDataset(data)
    for name in ds:
        for run_number in ds[name].runs():
            assert packed[name].jpeg(run_number, "F15") == ds[name].jpeg(run_number, "F15")
    video = ds["SAM1-2"]
    assert video.stack("F0").shape == (12, 64, 64)
    assert (video.frame(3) == packed["SAM1-2"].frame(3)).all()
    assert EmbryoDataset(archives).table().drop(columns="phase").equals(ds.table().drop(columns="phase"))
    assert len(ds.frames(planes="F0", hours=(0, 90)))
    assert all(map(os.path.isfile, ds.table(files=True).file))
    assert any((work / "cache").rglob("*.cache"))  # of the archives
    assert not [path for path in work.rglob("*") if ".nsw-" in path.name]

    assert json.loads(run("show", data, "--json")[0])["videos"] == 6
    run("table", data, work / "table.csv", "--files")
    run("split", data, "--out", work / "split.json")
    run("split", data, "--folds", 3, "--out", work / "folds")
    run("split", data, "--check", work / "folds" / "fold_0.csv")
    run("split", data, "--out", work / "split.json", status=1)  # it exists
    # 3 videos per worker, so that processes measure
    reports = "--html", work / "report.html", "--csv", work / "report.csv"
    run("validate", data, "--pixels", "--workers", 2, *reports)
    run("validate", archives, "--pixels", "--json-file", work / "report.json")
    run("folder", data, work / "images", "--planes", "F0", "--split", work / "split.json")
    run("folder", data, work / "linked", "--planes", "F0", "--link", "--form", "huggingface")
    run("play", data, "SAM1-2", "--out", work / "page.html", "--no-open")
    page = (work / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count('"/9j/') == 12
    assert run("show", data / "nowhere", status=1)[1].startswith("error: ")
    assert run("show", work / "table.csv", status=1)[1].count("\n") == 1

    from nsw_da_medical_image.viewer.player import EmbryoPlayer

    player = EmbryoPlayer(video, plane="F0")
    player.to_html(work / "player.html")
    clean = [path for path in work.rglob("*") if ".nsw-" in path.name]
    assert clean == []

    run("clock", data, "--videos", "SAM1-2")
    run("batches", work / "batches", "--adopt", work / "images" / "images", "--phase", "t2")
    run("batches", work / "batches")
    run("compare", data, work / "batches", "--out", work / "compare.html")
    run("experiment", data, "--out", work / "experiment", "--frames", 1)
    for name, *options in ["strip.png"], ["frame.png", "--run", 3], ["film.gif"], ["film.mp4", "--align", "hours"]:
        run("export", data, "SAM1-2", "--out", work / name, *options)
        run("export", data, "SAM1-2", "--out", work / name, *options, status=1)  # it exists
        assert (work / name).stat().st_size > 1000
    annotating(data, work)
    downloading(archives, work / "downloaded", run)
    assert not [path for path in work.rglob("*") if ".nsw-" in path.name]


def annotating(data: Path, work: Path) -> None:
    """Browse the videos, bookmark a run, and mark onsets, with the widgets and without."""
    from nsw_da_medical_image.dataset_util.annotate import Annotation
    from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
    from nsw_da_medical_image.viewer.explorer import explore

    ds = EmbryoDataset(data)
    explorer = explore(ds, annotations=work / "notes")
    explorer.value = "SAM1-2"
    assert explorer.player is not None
    for comment in "two cells?", "three":
        explorer.bookmark("SAM1-2", 3, comment)
    assert explorer.bookmarks["comment"].tolist() == ["three"]
    assert "image/jpeg" in json.dumps(explorer._repr_mimebundle_())
    explorer.close()
    for run_number in 4, 5:
        Annotation(ds["SAM1-2"], work / "notes", reader="Ann").set("t2", run_number)
    (again := Annotation(ds["SAM1-2"], work / "notes", reader="Ann")).undo()
    assert again.onsets["t2"] == 4
    assert EmbryoDataset(data, annotations=work / "notes")["SAM1-2"].phases_source == str(work / "notes")
    print("explorer and annotations: done")


def downloading(archives: Path, folder: Path, run: Callable[..., tuple[str, str]]) -> None:
    """Download from a server on this machine, which breaks off, and verify."""
    with served(archives) as record:
        address = "--record", record
        run("download", folder, "--only", "F0,annotations,grades", *address)
        assert "already there" in run("download", folder, "--only", "F0", *address)[0]
        run("download", folder, "--verify", "--only", "F0,annotations,grades", *address)
        (folder / "embryo_dataset_grades.csv").write_bytes(b"damaged")
        told = run("download", folder, "--verify", "--only", "grades", *address, status=1)[1]
        assert "wrong size, 7 bytes" in told
        run("download", folder, "--only", "grades", *address, status=1)  # it is not overwritten
    plane = "embryo_dataset.tar.gz"
    assert (folder / plane).read_bytes() == (archives / plane).read_bytes()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


if __name__ == "__main__":
    options, (folder,) = (
        [word for word in sys.argv[1:] if word[0] == "-"],
        [word for word in sys.argv[1:] if word[0] != "-"],
    )
    if "--simulate" in options:
        simulate()
    elif "--block" in options:
        block(["pread", "O_NOFOLLOW"])
    commands(Path(folder).resolve())
    print("Windows: all of it works")
