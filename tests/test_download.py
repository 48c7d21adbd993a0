"""The download against a server on this machine that implements the record's API, and everything that goes wrong on the way."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import download as module
from nsw_da_medical_image.dataset_util.download import UNFINISHED, download, main, verify
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.util import ARCHIVES, GRADES

pytest.importorskip("pooch", reason="the extra download is not installed")

PLANE = "embryo_dataset.tar.gz"
COMMAND = [sys.executable, "-m", "nsw_da_medical_image.dataset_util.download"]
BY_MAIN = "import sys; from nsw_da_medical_image.dataset_util.download import main; sys.exit(main())"


class Zenodo:
    """Serve the API of a record with ten files; `trouble` is a list of what to do instead, one entry per request of a file."""

    def __init__(self, contents: dict[str, bytes]):
        self.contents = contents
        self.trouble: list[Callable[[Any, str, bytes, int], bool]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.changes: dict[str, dict[str, Any]] = {}
        self.record_status: list[int] = []
        self.record_cut: list[int] = []  # how many bytes of the description are not sent
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                outer.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.record = f"{self.address}/api/records/7912264"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, handler: Any) -> None:
        name = handler.path.removesuffix("/content").rpartition("/")[2]
        if name not in self.contents:
            status = self.record_status.pop(0) if self.record_status else 200
            cut = self.record_cut.pop(0) if self.record_cut else 0
            data = json.dumps(self.described()).encode()
            self.send(handler, status, data, {"Content-Type": "application/json"}, cut)
            return
        ranged = handler.headers.get("Range")
        self.requests.append((name, ranged))
        data, first = self.contents[name], int(ranged[6:].rstrip("-")) if ranged else 0
        if self.trouble and self.trouble.pop(0)(handler, name, data, first):
            return
        if ranged:
            where = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
            self.send(handler, 206, data[first:], where)
        else:
            self.send(handler, 200, data)

    def send(self, handler: Any, status: int, data: bytes, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        """Send an answer, which breaks off `cut` bytes before its end. Zenodo sends Retry-After with every answer."""
        handler.send_response(status)
        headers = {"Content-Length": str(len(data)), "Retry-After": "59", **(headers or {})}
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(data[: len(data) - cut])
        if cut:
            handler.close_connection = True
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)

    def described(self) -> dict[str, Any]:
        files = [
            {
                "id": name,
                "key": name,
                "size": len(data),
                "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                "links": {"self": f"{self.address}/api/records/7912264/files/{name}/content"},
                **self.changes.get(name, {}),
            }
            for name, data in self.contents.items()
        ]
        return {"id": 7912264, "files": [*files, {"key": "LICENCE.txt", "size": 1}]}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the ten files of a small sample."""
    from nsw_da_medical_image.dataset_util.sample import make_archives

    folder = tmp_path_factory.mktemp("served") / "archives"
    make_archives(folder, videos=2, frames=16, size=64)
    return {name: (folder / name).read_bytes() for name in ARCHIVES}


@pytest.fixture
def zenodo(contents: dict[str, bytes]) -> Iterator[Zenodo]:
    served = Zenodo(dict(contents))
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def waits() -> list[float]:
    """Return the list of the seconds that the download would have waited."""
    return []


def fetched(folder: Path) -> dict[str, bytes]:
    """Return the files that have their final names."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != UNFINISHED}


def breaks_off(handler: Any, name: str, data: bytes, first: int) -> bool:
    """Break off in the middle of what is left."""
    rest = data[first:]
    where = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
    Zenodo.send(None, handler, 206 if first else 200, rest, where, cut=len(rest) - len(rest) // 2)  # type: ignore[arg-type]
    return True


def status(code: int, headers: dict[str, str] | None = None) -> Callable[..., bool]:
    """Return a trouble that answers with a status."""

    def trouble(handler: Any, name: str, data: bytes, first: int) -> bool:
        Zenodo.send(None, handler, code, b"no", {"Retry-After": "", **(headers or {})})  # type: ignore[arg-type]
        return True

    return trouble


def sends(change: Callable[[bytes], bytes], **headers: str) -> Callable[..., bool]:
    """Return a trouble that sends another content, with status 200."""

    def trouble(handler: Any, name: str, data: bytes, first: int) -> bool:
        Zenodo.send(None, handler, 200, change(data), {key.replace("_", "-"): v for key, v in headers.items()})  # type: ignore[arg-type]
        return True

    return trouble


def ignores_range(handler: Any, name: str, data: bytes, first: int) -> bool:
    """Send the whole file although a part was requested."""
    Zenodo.send(None, handler, 200, data)  # type: ignore[arg-type]
    return True


def wrong_range(handler: Any, name: str, data: bytes, first: int) -> bool:
    """Send another part than was requested."""
    Zenodo.send(None, handler, 206, data, {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"})  # type: ignore[arg-type]
    return True


def redirects(status: int, times: int = 1) -> list[Callable[..., bool]]:
    """Return troubles that send the client to the same file at another address, and there again for `times` in all."""

    def trouble(handler: Any, name: str, data: bytes, first: int) -> bool:
        Zenodo.send(None, handler, status, b"", {"Location": f"/mirror/{name}"})  # type: ignore[arg-type]
        return True

    return [trouble] * times


def unannounced(change: Callable[[bytes], bytes]) -> Callable[..., bool]:
    """Return a trouble that sends another content in chunks, without a length."""

    def trouble(handler: Any, name: str, data: bytes, first: int) -> bool:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        piece = change(data)
        handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece))
        return True

    return trouble


def test_all_ten_files_are_what_the_extraction_expects(zenodo: Zenodo, tmp_path: Path) -> None:
    done = download(tmp_path / "data" / "archives", record=zenodo.record)
    assert fetched(tmp_path / "data" / "archives") == zenodo.contents
    assert not done.absent
    assert not (tmp_path / "data" / "archives" / UNFINISHED).exists()
    assert done.received == sum(map(len, zenodo.contents.values()))
    assert str(done).endswith("data/archives")
    assert extract_dataset(tmp_path / "data" / "archives", tmp_path / "data" / "extracted").videos == 2
    zenodo.requests.clear()
    again = download(tmp_path / "data" / "archives", record=zenodo.record)
    assert set(again.files.values()) == {"already there"}
    assert not zenodo.requests
    assert not again.received
    assert not verify(tmp_path / "data" / "archives", record=zenodo.record).problems


def test_only_some_files(zenodo: Zenodo, tmp_path: Path) -> None:
    done = download(tmp_path, ["F0", "annotations"], record=zenodo.record)
    assert set(fetched(tmp_path)) == set(done.files) == {PLANE, "embryo_dataset_annotations.tar.gz"}
    assert len(done.absent) == 8


@pytest.mark.parametrize(
    ("trouble", "waited"),
    [
        ([breaks_off], [1]),
        ([breaks_off, breaks_off, breaks_off], [1, 1, 1]),
        ([breaks_off, ignores_range], [1]),
        ([breaks_off, wrong_range], [1, 2]),
        ([breaks_off, status(416)], [1, 2]),
        ([breaks_off, wrong_range, wrong_range], [1, 2, 4]),
        ([breaks_off, status(416), wrong_range, breaks_off], [1, 2, 4, 8]),
        ([status(429, {"Retry-After": "7"})], [7]),
        ([status(429, {"Retry-After": formatdate(time.time() - 100, usegmt=True)})], [1]),
        ([status(429), status(429), status(503)], [1, 2, 4]),
        ([status(500), status(502), status(504)], [1, 2, 4]),
        (redirects(302), []),
        ([breaks_off, *redirects(307, 3)], [1]),
        ([sends(lambda data: data[:-7])], [1]),  # a wrong length, announced
        ([sends(lambda data: data + b"more")], [1]),
        ([unannounced(lambda data: data[:-7])], [1]),
        ([unannounced(lambda data: data + b"more")], [1]),
        ([sends(lambda data: b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")], [1]),
        ([unannounced(lambda data: b"<html>Please log in</html>")], [1]),
        ([sends(lambda data: bytes(len(data)))], []),  # a wrong checksum, once
        ([breaks_off, sends(lambda data: bytes(len(data)))], [1]),
    ],
)
def test_it_survives(
    zenodo: Zenodo, tmp_path: Path, waits: list[float], trouble: list[Any], waited: list[float]
) -> None:
    zenodo.trouble = list(trouble)
    download(tmp_path, "F0", record=zenodo.record, wait=waits.append)
    assert fetched(tmp_path) == {PLANE: zenodo.contents[PLANE]}
    assert not zenodo.trouble
    assert waits == waited
    assert not (tmp_path / UNFINISHED).exists()


def test_a_broken_connection_is_continued_where_it_ended(zenodo: Zenodo, tmp_path: Path, waits: list[float]) -> None:
    zenodo.trouble = [breaks_off]
    download(tmp_path, "F0", record=zenodo.record, wait=waits.append)
    half = len(zenodo.contents[PLANE]) // 2
    assert zenodo.requests == [(PLANE, None), (PLANE, f"bytes={half}-")]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ([status(404)], "the server answers 404 Not Found for http"),
        ([status(403)], "the server answers 403 Forbidden for http"),
        ([status(429, {"Retry-After": "4000"})], "429 Too Many Requests and asks to wait 67 minutes"),
        ([status(503)] * 8, "503 Service Unavailable; given up after 8 attempts"),
        ([sends(lambda data: data[:-7])] * 8, r"announces [0-9]+ bytes, but [0-9]+ are expected; given up"),
        ([sends(lambda data: b"<html/>", Content_Type="text/html")] * 8, "sends a web page instead of the file"),
        ([sends(lambda data: bytes(len(data)))] * 2, "does not have the checksum of the record, twice"),
    ],
)
def test_it_gives_up_in_one_line(
    zenodo: Zenodo, tmp_path: Path, waits: list[float], trouble: list[Any], why: str
) -> None:
    zenodo.trouble = list(trouble)
    with pytest.raises(DataError, match=why):
        download(tmp_path, "F0", record=zenodo.record, wait=waits.append)
    assert fetched(tmp_path) == {}
    assert not (tmp_path / UNFINISHED).exists()
    download(tmp_path, "F0", record=zenodo.record)
    assert fetched(tmp_path) == {PLANE: zenodo.contents[PLANE]}


def test_one_wrong_answer_does_not_discard_what_arrived(zenodo: Zenodo, tmp_path: Path, waits: list[float]) -> None:
    zenodo.trouble = [breaks_off, wrong_range]
    download(tmp_path, "F0", record=zenodo.record, wait=waits.append)
    half = f"bytes={len(zenodo.contents[PLANE]) // 2}-"
    assert [asked for _, asked in zenodo.requests] == [None, half, half]
    zenodo.requests.clear()
    zenodo.trouble = [breaks_off, wrong_range, status(416)]
    download(tmp_path / "new", "F0", record=zenodo.record, wait=waits.append)
    assert [asked for _, asked in zenodo.requests] == [None, half, half, None]


def test_what_arrived_is_kept_for_the_next_attempt(zenodo: Zenodo, tmp_path: Path, waits: list[float]) -> None:
    zenodo.trouble = [breaks_off, status(404)]
    with pytest.raises(DataError, match=r"404 Not Found.*; what has arrived is kept, so run the same command again"):
        download(tmp_path, "F0", record=zenodo.record, wait=waits.append)
    assert fetched(tmp_path) == {}
    assert (tmp_path / UNFINISHED).is_dir()
    half = len(zenodo.contents[PLANE]) // 2
    done = download(tmp_path, "F0", record=zenodo.record)
    assert done.files == {PLANE: f"continued after {half:,} bytes"}
    assert fetched(tmp_path) == {PLANE: zenodo.contents[PLANE]}
    assert zenodo.requests[-1] == (PLANE, f"bytes={half}-")
    assert not (tmp_path / UNFINISHED).exists()


def test_an_unfinished_file_of_another_record_is_not_continued(
    zenodo: Zenodo, tmp_path: Path, waits: list[float]
) -> None:
    zenodo.trouble = [breaks_off, status(404)]
    with pytest.raises(DataError):
        download(tmp_path, "F0", record=zenodo.record, wait=waits.append)
    zenodo.contents[PLANE] = zenodo.contents[PLANE][::-1]
    assert download(tmp_path, "F0", record=zenodo.record).files == {PLANE: "downloaded"}
    assert fetched(tmp_path) == {PLANE: zenodo.contents[PLANE]}


def test_the_record_itself(zenodo: Zenodo, tmp_path: Path, waits: list[float]) -> None:
    zenodo.record_status = [429, 503]
    download(tmp_path, "grades", record=zenodo.record, wait=waits.append)
    assert waits == [59, 59]
    zenodo.record_cut = [300]
    download(tmp_path / "cut", "grades", record=zenodo.record, wait=waits.append)
    assert waits[2:] == [1]
    zenodo.record_status = [404]
    with pytest.raises(DataError, match=r"the record http.* cannot be read: the server answers 404 Not Found"):
        download(tmp_path, "grades", record=zenodo.record)
    zenodo.changes[PLANE] = {"checksum": None}
    with pytest.raises(DataError, match=r"the record does not describe embryo_dataset\.tar\.gz"):
        download(tmp_path / "new", record=zenodo.record)
    with pytest.raises(DataError, match="no connection"):
        download(tmp_path / "new", record="http://127.0.0.1:9/api/records/1", wait=waits.append)
    assert not (tmp_path / "new").exists()


def test_existing_files_are_never_changed(zenodo: Zenodo, tmp_path: Path) -> None:
    (tmp_path / PLANE).write_bytes(b"mine")
    with pytest.raises(DataError, match=r"has 4 bytes, but the record's file has [0-9,]+ bytes; rename or remove it"):
        download(tmp_path, record=zenodo.record)
    assert fetched(tmp_path) == {PLANE: b"mine"}
    (tmp_path / PLANE).unlink()
    (tmp_path / PLANE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a file, but the record's file has"):
        download(tmp_path, record=zenodo.record)


def test_a_full_disk_is_noticed_first(zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 5, 5))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"has 0\.0 GB free, but .* are still to arrive"):
        download(tmp_path, record=zenodo.record)
    assert not zenodo.requests
    assert not fetched(tmp_path)


def test_a_disk_that_becomes_full_keeps_what_arrived(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.contents[PLANE] = os.urandom(1 << 20) * 3
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20)); {BY_MAIN}"
    command = [sys.executable, "-c", limit, str(tmp_path), "--only", "F0", "--record", zenodo.record]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    kept = "what has arrived is kept, so run the same command again to continue"
    assert done.stderr == f"error: {PLANE}: File too large; {kept}\n"
    assert fetched(tmp_path) == {}
    assert download(tmp_path, "F0", record=zenodo.record).files[PLANE].startswith("continued after ")
    assert fetched(tmp_path) == {PLANE: zenodo.contents[PLANE]}


def test_the_folder_must_be_one(zenodo: Zenodo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    for folder, options in ("file", []), ("file", ["--verify"]), ("nowhere", ["--verify"]):
        assert main([str(tmp_path / folder), "--only", "grades", *options, "--record", zenodo.record]) == 1
        assert re.fullmatch(rf"error: .*{folder} is not a folder; give the folder [^\n]*\n", capsys.readouterr().err)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_hidden_folder_of_another_user_is_refused(zenodo: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / UNFINISHED).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is not a folder of yours"):
        download(tmp_path / "archives", record=zenodo.record)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_missing_pooch_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pooch.py").write_text("raise ImportError")
    (tmp_path / "requests.py").write_text("raise ImportError")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([*COMMAND, str(tmp_path / "new")], env=env, capture_output=True, text=True, check=False)
    remedy = "pip install 'nsw_da_medical_image[download]', or: pip install pooch"
    assert (done.returncode, done.stdout) == (1, "")
    assert not (tmp_path / "new").exists()
    assert done.stderr == f"error: the download needs pooch; install it with: {remedy}\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_download_is_continued(zenodo: Zenodo, tmp_path: Path, number: int) -> None:
    # more than one piece, so that something is on disk
    zenodo.contents[PLANE] = os.urandom(1 << 20) * 3
    zenodo.trouble = [lambda handler, name, data, first: _two_pieces(handler, data)]
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path), "--only", "F0", "--record", zenodo.record], stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 60
        while not any(path.stat().st_size > 1 << 20 for path in tmp_path.glob(f"{UNFINISHED}/{PLANE}.*")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises(DataError, match="another process is downloading to"):
            download(tmp_path, "F0", record=zenodo.record)
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert told.splitlines()[-1] == "stopped; what has arrived is kept; run the same command again to continue"
    assert fetched(tmp_path) == {}
    with pytest.raises(DataError, match=r"'\.embryo_dataset\.download' \(an unfinished download\)"):
        extract_dataset(tmp_path, tmp_path.parent / "extracted")
    done = download(tmp_path, "F0", record=zenodo.record)
    assert done.files[PLANE].startswith("continued after ")
    assert fetched(tmp_path) == {PLANE: zenodo.contents[PLANE]}
    assert zenodo.requests[-1][1] is not None
    assert not (tmp_path / UNFINISHED).exists()


def _two_pieces(handler: Any, data: bytes) -> bool:
    """Send two of three MiB, and then nothing until the connection ends."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: 2 << 20])
    handler.wfile.flush()
    handler.connection.settimeout(60)
    handler.rfile.read(1)  # returns when the client is gone
    return True


@pytest.mark.slow
def test_a_kill_at_every_step_leaves_no_wrong_file(zenodo: Zenodo, tmp_path: Path, record_property: Any) -> None:
    """Kill a process at each call that changes a file; the next download completes what it left. One process imports for all."""
    script = """
import os, sys
import pooch, requests
from nsw_da_medical_image.dataset_util.download import download
def counted(name):
    real = getattr(os, name)
    def call(*args, **options):
        global left
        if ".embryo_dataset" in str(args[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)
        return real(*args, **options)
    setattr(os, name, call)
for left in range(1, 30):
    folder = os.path.join(sys.argv[1], str(left))
    os.mkdir(folder)
    if not (child := os.fork()):
        for name in "link", "unlink", "replace", "rename", "fsync", "truncate", "mkdir", "rmdir":
            counted(name)
        try:
            download(folder, "annotations", record=sys.argv[2])
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status)
    if not status:
        break
"""
    name = "embryo_dataset_annotations.tar.gz"
    command = [sys.executable, "-c", script, str(tmp_path), zenodo.record]
    env = {**os.environ, "NO_PROXY": "*"}  # a forked process cannot ask macOS for its proxies
    told = subprocess.run(command, env=env, text=True, capture_output=True, check=True, timeout=300)
    ends = list(map(int, told.stdout.split()))
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0]
    assert len(ends) > 5
    for step in range(1, len(ends) + 1):
        folder = tmp_path / str(step)
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert there <= {name}
        assert all((folder / each).read_bytes() == zenodo.contents[each] for each in there)
        download(folder, "annotations", record=zenodo.record)
        assert (folder / name).read_bytes() == zenodo.contents[name]
        assert not (folder / UNFINISHED).exists()
    record_property("tried", len(ends))


def test_the_command(zenodo: Zenodo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--record", zenodo.record]
    assert main([str(tmp_path), "--only", "grades,annotations", *options]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == [
        "embryo_dataset_annotations.tar.gz",
        f"{len(zenodo.contents[told[0].split()[0]]):,}",
        "bytes",
        "downloaded",
    ]
    assert told[-1].startswith("8 files of the release not in this folder: embryo_dataset_F-45.tar.gz")
    assert main([str(tmp_path), "--verify", "--only", "grades", *options]) == 0
    assert "verified" in capsys.readouterr().out
    assert main([str(tmp_path), "--verify", "--json", *options]) == 1
    told_out, told_err = capsys.readouterr()
    assert json.loads(told_out)["files"][GRADES] == "verified"
    assert f"{PLANE}: missing" in told_err
    (tmp_path / GRADES).write_bytes(bytes(len(zenodo.contents[GRADES])))
    assert main([str(tmp_path), "--verify", "--only", "grades", *options]) == 1
    assert f"{GRADES}: wrong checksum" in capsys.readouterr().err
