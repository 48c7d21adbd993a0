"""Test new files and folders after errors and among other users, and reading files that are not regular."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from nsw_da_medical_image.common import files
from nsw_da_medical_image.common.files import _sweep, new_file, new_folder, read_file, refuse_inside
from nsw_da_medical_image.common.text import DataError

Maker = Callable[[Path], AbstractContextManager[Path]]
MAKERS = {"file": new_file, "folder": new_folder, "replaced": lambda path: new_folder(path, empty=True)}


def fill(hidden: Path) -> None:
    """Write something into a hidden file or folder."""
    (hidden / "x" if hidden.is_dir() else hidden).write_text("ours")


def hidden_name(path: Path) -> Path:
    """Return a name as `new_file` and `new_folder` give it to what they make beside `path`."""
    return path.with_name(f".{path.name}.nsw-{files._HOST}{'0' * 12}")


@contextmanager
def old_enough() -> Iterator[None]:
    """Let the clock of `_sweep` be an hour ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.time, "time", lambda now=time.time: now() + 3600)
        yield


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("failing", ["_fsync", "flush_tree", "lock", "_name_new", "flush_name", "os.fchmod"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "Input/output error"), MemoryError])
def test_nothing_is_left_whatever_fails(make: Maker, failing: str, error: BaseException, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise error

    made = False
    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt, OSError, MemoryError):
        patch.setattr(f"{files.__name__}.{failing}", fail)
        with make(tmp_path / "made") as hidden:
            fill(hidden)
        made = True
    late = failing == "flush_name" or (failing == "_fsync" and make is not new_file)  # after it has its name
    assert os.listdir(tmp_path) == (["made"] if made or late else [])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_signal_during_the_clean_up_leaves_nothing(make: Maker, tmp_path: Path) -> None:
    """It arrives during the clean-up after another error, and stops the work after the clean-up."""

    def interrupted(*_: object, **__: object) -> None:
        patch.undo()
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt), make(tmp_path / "made"):
            raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("theirs", ["file", "folder", "empty folder", "link"])
@pytest.mark.parametrize("fallback", [False, True])
def test_a_place_that_another_process_took_stays_theirs(
    make: Maker, theirs: str, fallback: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fallback:
        if theirs == "empty folder":
            pytest.skip("without renameat2, an empty folder is seen by the check before the rename")
        monkeypatch.setattr(files, "_libc", lambda name: None)
    place = tmp_path / "made"
    if make is MAKERS["replaced"] and theirs == "empty folder":
        pytest.skip("an empty folder may be replaced")

    def work() -> None:
        with make(place) as hidden:
            fill(hidden)
            if theirs == "file":
                place.write_text("theirs")
            elif theirs == "link":
                place.symlink_to("nowhere")
            else:
                place.mkdir()
            if theirs == "folder":
                (place / "x").write_text("theirs")

    with pytest.raises(FileExistsError, match="exists already"):
        work()
    assert os.listdir(tmp_path) == ["made"]
    if theirs == "file":
        assert place.read_text() == "theirs"
    if theirs == "folder":
        assert (place / "x").read_text() == "theirs"


def test_an_empty_folder_is_not_replaced_between_check_and_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename would replace it silently, and mix its owner's files with ours."""
    if files._libc("renameat2") is None:
        pytest.skip("this system has no renameat2")
    name_new = files._name_new

    def late(hidden: Path, path: Path) -> None:
        path.mkdir()
        name_new(hidden, path)

    monkeypatch.setattr(files, "_name_new", late)
    with pytest.raises(FileExistsError), new_folder(tmp_path / "made") as hidden:
        fill(hidden)
    assert os.listdir(tmp_path / "made") == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_what_is_published_has_the_usual_modes(mask: int, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty").chmod(0o2750)
    before = os.umask(mask)
    try:
        with new_folder(tmp_path / "folder") as hidden:
            assert stat.S_IMODE(hidden.stat().st_mode) == 0o1700
        with new_file(tmp_path / "file") as hidden:
            hidden.write_text("")
        with new_folder(tmp_path / "empty", empty=True) as hidden:
            fill(hidden)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in os.listdir(tmp_path)}
    assert modes == {"folder": 0o777 & ~mask, "file": 0o666 & ~mask, "empty": 0o2750}


KILLED = """
import os, signal, sys
from pathlib import Path
from nsw_da_medical_image.common.files import new_file, new_folder
here = Path(sys.argv[1])
with new_folder(here / "a" ) as a, new_file(here / "b") as b, new_folder(here / "c", empty=True) as c:
    (a / "below").mkdir()
    (a / "below" / "frame").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_swept_and_the_empty_folder_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False, timeout=60)
    assert len(os.listdir(tmp_path)) == 4
    assert (tmp_path / "c").is_dir()
    with old_enough(), new_file(tmp_path / "next") as hidden:
        hidden.touch()
    assert sorted(os.listdir(tmp_path)) == ["c", "next"]


def test_leftovers_of_other_machines_stay_for_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks on some network disks work only on one machine: the process may be alive on another."""
    other = f"{int(files._HOST, 16) ^ 1:04x}"
    elsewhere = f"from nsw_da_medical_image.common import files; files._HOST = '{other}'\n"
    subprocess.run([sys.executable, "-c", elsewhere + KILLED, tmp_path], check=False, timeout=60)
    left = sorted(os.listdir(tmp_path))
    assert len(left) == 3
    with old_enough():
        assert _sweep(tmp_path) == []
    monkeypatch.setattr(files.time, "time", lambda now=time.time: now() + 8 * 86_400)
    assert sorted(_sweep(tmp_path)) == left


@pytest.mark.parametrize(("code", "raised"), [(errno.EIO, True), (errno.EACCES, True), (errno.ENOLCK, False)])
def test_a_lock_that_fails_is_no_missing_lock(
    code: int, raised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", fail)
    with open(tmp_path / "held", "wb") as held:
        if raised:
            with pytest.raises(OSError, match=os.strerror(code)):
                files.lock(held.fileno())
        else:
            assert files.lock(held.fileno()) is None
    with new_file(tmp_path / "new") as hidden:  # which needs no lock
        hidden.write_bytes(b"1")
    assert (tmp_path / "new").read_bytes() == b"1"
    assert _sweep(tmp_path) == []


def test_a_renamed_folder_of_the_user_is_not_swept(tmp_path: Path) -> None:
    """In a folder that a group may write to, its members can rename each other's folders, but not delete them."""
    work = tmp_path / "thesis"
    work.mkdir()
    (work / "chapter").write_text("years of work")
    name = hidden_name(tmp_path / "thesis")
    work.rename(name)
    with old_enough():
        assert _sweep(tmp_path) == []
    assert (name / "chapter").read_text() == "years of work"


@pytest.mark.parametrize("trap", ["link to a folder", "link to a file", "pipe", "other user"])
def test_nothing_else_is_swept(trap: str, tmp_path: Path) -> None:
    victim = tmp_path / "home"
    victim.mkdir(mode=0o700)
    (victim / "letter").write_text("dear")
    victim.chmod(0o1700)
    (tmp_path / "shared").mkdir()
    name = hidden_name(tmp_path / "shared" / "made")
    if trap == "link to a folder":
        name.symlink_to(victim)
    elif trap == "link to a file":
        name.symlink_to(victim / "letter")
    elif trap == "pipe":
        os.mkfifo(name)
    elif os.geteuid() == 0:
        name.mkdir()
        name.chmod(0o1700)
        os.chown(name, 12345, 12345)
    else:
        pytest.skip("only root can give a folder to another user")
    with old_enough():
        assert _sweep(tmp_path / "shared") == []
    assert os.path.lexists(name)
    assert (victim / "letter").read_text() == "dear"


def test_long_and_foreign_names(tmp_path: Path) -> None:
    names = ["a" * 255, "\u80da" * 85, "\U0001f95a" * 63, os.fsdecode(b"\xff" * 250), ".nsw-" * 51]
    for name in names:
        with new_file(tmp_path / name) as hidden:
            hidden.write_text("x")
        (tmp_path / name).unlink()
        with new_folder(tmp_path / name):
            pass
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_a_writer_may_replace_the_hidden_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda fd, call=os.fsync: (flushed.append(os.fstat(fd).st_ino), call(fd)))
    with new_file(tmp_path / "made") as hidden:
        (tmp_path / "other").write_text("new")
        os.replace(tmp_path / "other", hidden)
        inode = hidden.stat().st_ino
    assert inode in flushed
    assert (tmp_path / "made").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_can_be_written_but_not_read(tmp_path: Path) -> None:
    """Its names cannot be flushed, which must not make the finished work fail."""
    code = "import os, sys\nfrom nsw_da_medical_image.common.files import new_file, new_folder\nos.setuid(12345)\n"
    code += "for new in new_file, new_folder:\n    with new(sys.argv[1] + new.__name__): pass\n"
    box = tmp_path / "box"
    box.mkdir()
    box.chmod(0o333)
    for above in box.parents:
        if above.stat().st_uid == 0 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", code, f"{box}/"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(box)) == ["new_file", "new_folder"]


def test_a_folder_that_cannot_be_written_is_named_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/.hidden.nsw-0123")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(PermissionError) as caught, new_folder(tmp_path / "made"):
        pass
    assert caught.value.filename == str(tmp_path / "made")


def test_a_file_that_grows_or_is_shorter_than_it_says(tmp_path: Path) -> None:
    """Files of /proc report a size of 0 bytes."""
    if os.path.exists("/proc/self/status"):
        assert b"VmRSS" in read_file("/proc/self/status")
    place = tmp_path / "growing"
    place.write_bytes(b"0" * 100)
    real = os.read

    def grows(fd: int, size: int) -> bytes:
        if place.stat().st_size < 10_000:
            with open(place, "ab") as file:
                file.write(b"1" * 5000)
        return real(fd, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", grows)
        assert len(read_file(place)) >= 10_000
    place.write_bytes(b"0" * 20_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fstat", lambda fd, call=os.fstat: os.stat_result([*call(fd)[:6], 5, *call(fd)[7:]]))
        with pytest.raises(DataError, match="has more than 12,000 bytes"):
            read_file(place, limit=12_000)


def test_a_pipe_that_is_being_written_to_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "frame.jpeg")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with suppress(OSError):
                fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                os.close(fd)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            with pytest.raises(DataError, match="is a named pipe"):
                read_file(pipe)
    finally:
        stop.set()
        writer.join()


def test_a_loop_of_links_is_one_sentence_everywhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    refuse_inside(tmp_path / "loop" / "x", tmp_path / "data")
    with pytest.raises(OSError, match="symbolic links"):
        read_file(tmp_path / "loop")


def test_an_error_of_the_disk_names_the_final_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full, new_file(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.filename == str(tmp_path / "file")
    with pytest.raises(FileNotFoundError) as lost, new_folder(tmp_path / "folder") as hidden:
        (hidden / "absent" / "frame").write_bytes(b"")
    assert lost.value.filename == str(tmp_path / "folder" / "absent" / "frame")
    with pytest.raises(OSError, match="broken") as other, new_file(tmp_path / "file"):
        raise OSError(errno.EIO, "broken")
    assert other.value.filename is None
    assert not list(tmp_path.iterdir())
